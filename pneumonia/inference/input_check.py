"""Decide whether an image is a frontal chest radiograph, and how like the training images it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pneumonia.config.schema import PreprocessConfig
from pneumonia.imaging import layout as layouts
from pneumonia.imaging.image_statistics import measure_exposure
from pneumonia.imaging.layout import Layout, measure_layout
from pneumonia.imaging.preprocessing import equalize
from pneumonia.imaging.radiograph import Radiograph
from pneumonia.imaging.refusal import Code
from pneumonia.inference import attribute_check
from pneumonia.inference.engine import Outputs
from pneumonia.inference.reference import AGES, Reference

COLOURED = 0.02
"""Share of coloured pixels from which a picture is in colour; less is a coloured label."""
FLAT = 10
"""Grey levels between the darkest and the brightest hundredth of an image that is nearly blank; of the 5,856 images of
Kermany et al. (2018) none has fewer than 79 between its fiftieths."""
TURNED, MIRRORED, USUAL = 1.0, 1.25, 3.0
"""Standard deviations by which a layout must fit better as a negative or rotated, and as a mirror image, to be taken
for one, and within which it must fit then."""
EDGE, PLAIN = 0.03, 2.0
"""Share of the side, and standard deviation in grey levels, of a margin that is no part of the radiograph."""
QUALITY = (("dark", "bright"), ("low contrast", "high contrast"), ("blurred", "grainy"))
"""Words for what lies below and above all training and validation images, of the measures of `measure_exposure`."""
_SHARP = 2
ROOM = 0.25
"""How far beyond the training images' range a picture is no radiograph, as a share of that range."""

Turn = Literal["upright", "inverted", "rotated", "mirrored"]


@dataclass(frozen=True)
class Assessment:
    """What was found about an image.

    Attributes:
        code, reason, remedy: why it is refused; empty where it is not.
        familiar: it is like the training images.
        percentile: share of the held-out images that are nearer to the training images, 0 to 100.
        findings: what was found, name to a JSON value, for the answer's `checks`.
        notes: sentences for the reader.
    """

    code: Code | Literal[""] = ""
    reason: str = ""
    remedy: str = ""
    familiar: bool = True
    percentile: float = 0.0
    findings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """An image that is to be computed.

    Attributes:
        image: corrected where it was inverted.
        layout: of the image as it is computed.
        assessment: what is known before it is computed; with a code, it is refused already.
    """

    image: Radiograph
    layout: Layout
    assessment: Assessment


class InputCheck:
    """Compare images with the reference that was exported with a model."""

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]], preprocess: PreprocessConfig) -> None:
        """Read a reference, of `pneumonia.inference.reference.build_reference`.

        Without its arrays, of a model that was exported without its training data, only what the file says and
        whether it is blank, small or in colour is looked at.
        """
        self._preprocess = preprocess
        self._reference = Reference.load(arrays)
        self._ages: list[float] | None = [float(age) for age in arrays[AGES]] if AGES in arrays else None

    @property
    def compares(self) -> bool:
        """Whether there are training images to compare with."""
        return self._reference is not None

    def prepare(self, image: Radiograph) -> Prepared:
        """Look at a decoded image before it is computed, and correct it where it is a negative."""
        layout = measure_layout(image.pixels)
        findings = _about(image)
        refused = _refuse_file(image)
        if refused is not None or self._reference is None:
            return Prepared(image, layout, replace(refused or Assessment(), findings=findings))
        turn = _turn(self._reference, layout)
        findings["inverted"] = turn == "inverted"
        if turn == "inverted":
            note = "it is a negative (bright air, dark bones); the answer is that of the corrected image"
            found = Assessment(findings=findings, notes=(note,))
            return Prepared(self._negative(image), layouts.inverted(layout), found)
        if turn == "rotated":
            reason = "is a chest radiograph that lies on its side or stands on its head"
            findings["rotated"] = True
            found = Assessment("not_frontal_chest", reason, "rotate it until the head is up", findings=findings)
            return Prepared(image, layout, found)
        if turn == "mirrored" or (image.attributes is not None and attribute_check.is_mirrored(image.attributes)):
            note = "it seems to be mirrored (heart on the left of the picture); is the side right?"
            return Prepared(image, layout, Assessment(findings=findings | {"mirrored": True}, notes=(note,)))
        return Prepared(image, layout, Assessment(findings=findings))

    def assess(self, prepared: Prepared, outputs: Outputs) -> Assessment:
        """Assess an image that `prepare` did not refuse, and what the graph computed of it."""
        found, reference = prepared.assessment, self._reference
        if reference is None:
            return replace(found, findings={**found.findings, "compared": False})
        unlikeness, far = reference.measure(outputs.embedding, prepared.layout)
        exposure = measure_exposure(prepared.image.levels)
        findings = {
            **found.findings,
            "quality": _quality(exposure, reference.ranges),
            "unlikeness": round(unlikeness, 2),
            "refused_from": round(float(reference.limits[0]), 2),
        }
        if unlikeness >= reference.limits[0]:
            refused = _refuse_picture(exposure, reference.ranges, replace(found, findings=findings, notes=()))
            margin = "; cut off its plain margin" if _has_margin(prepared.image.levels) else ""
            return replace(refused, remedy=refused.remedy + margin)
        age = self._strange_age(prepared.image)
        return replace(
            found,
            familiar=bool(far < reference.limits[1]) and age is None,
            percentile=reference.percentile(far),
            findings=findings,
            notes=(*found.notes, *([] if age is None else [age])),
        )

    def _negative(self, image: Radiograph) -> Radiograph:
        levels = 255 - image.levels
        return replace(image, levels=levels, pixels=equalize(levels) if self._preprocess.equalize else levels)

    def _strange_age(self, image: Radiograph) -> str | None:
        """Return a sentence about a patient older or younger than those of the training images."""
        age = image.attributes.age if image.attributes is not None else None
        if age is None or self._ages is None or self._ages[0] <= age < self._ages[1] + 1:
            return None
        low, high = self._ages
        return f"the patient is {age:.0f} years old; the model learnt from patients of {low:g} to {high:g} years"


def _turn(reference: Reference, layout: Layout) -> Turn:
    """Find out whether a layout fits training images' clearly better as a negative, rotated or mirrored."""
    tried: dict[Turn, float] = {
        "upright": reference.misfit(layout),
        "inverted": reference.misfit(layouts.inverted(layout)),
        "rotated": min(reference.misfit(layouts.rotated(layout, quarters)) for quarters in (1, 2, 3)),
        "mirrored": reference.misfit(layouts.mirrored(layout)),
    }
    best = min(tried, key=tried.__getitem__)
    better = tried["upright"] - tried[best]
    return best if better > (MIRRORED if best == "mirrored" else TURNED) and tried[best] < USUAL else "upright"


def _about(image: Radiograph) -> dict[str, Any]:
    """Return what the file says about itself."""
    found: dict[str, Any] = {"size": [image.width, image.height], "encoding": image.encoding.partition(";")[0]}
    if image.attributes is not None:
        said = image.attributes
        found |= {"modality": said.modality, "body_part": said.body_part, "view": said.view}
        found |= {} if said.age is None else {"age": round(said.age, 1)}
    return found


def _refuse_file(image: Radiograph) -> Assessment | None:
    """Refuse an image for what the file says, its colour, its size, or that it shows next to nothing."""
    if image.attributes is not None and (said := attribute_check.refuse(image.attributes)) is not None:
        return Assessment(said.code, said.reason, said.remedy)
    if image.coloured >= COLOURED:
        share = f"{100 * image.coloured:.0f} % of its pixels"
        return Assessment("not_a_radiograph", f"is a picture in colour ({share})", "give a chest radiograph")
    side = len(image.pixels)
    if min(image.width, image.height) < side / 2:
        reason = f"is {image.width}x{image.height} pixels, smaller than half of the {side} that the model sees"
        return Assessment("too_small", reason, "give the image itself, not a thumbnail of it")
    low, high = np.searchsorted(np.cumsum(np.bincount(image.levels.ravel(), minlength=256)), _hundredths(image.levels))
    if high - low < FLAT:
        return Assessment("blank", f"is nearly blank ({high - low} of 255 grey levels)", "export the image again")
    return None


def _hundredths(levels: NDArray[np.uint8]) -> list[float]:
    return [0.01 * levels.size, 0.99 * levels.size]


def _refuse_picture(exposure: NDArray[np.float32], ranges: NDArray[np.float32], found: Assessment) -> Assessment:
    """Refuse a picture that is unlike training images; a radiograph is smooth, drawings, text and noise are not."""
    low, high = ranges[:, _SHARP]
    if exposure[_SHARP] > high + ROOM * (high - low):
        reason = "does not look like a radiograph; more like text, a drawing or noise"
        return replace(found, code="not_a_radiograph", reason=reason, remedy="give a frontal chest radiograph")
    reason = "does not look like a frontal chest radiograph of the kind that the model was trained on"
    return replace(found, code="not_frontal_chest", reason=reason, remedy="give a frontal (PA or AP) chest radiograph")


def _has_margin(levels: NDArray[np.uint8]) -> bool:
    """Return whether the outermost `EDGE` of an image, on any side, is of one grey level but for noise."""
    width = max(1, round(EDGE * len(levels)))
    sides = levels[:width], levels[-width:], levels[:, :width], levels[:, -width:]
    return any(float(side.std()) < PLAIN for side in sides)


def _quality(exposure: NDArray[np.float32], ranges: NDArray[np.float32]) -> list[str]:
    """Return the words for what is beyond everything that training and validation images show."""
    found = zip(exposure, ranges.T, QUALITY, strict=True)
    return [words[int(value > high)] for value, (low, high), words in found if not low <= value <= high]
