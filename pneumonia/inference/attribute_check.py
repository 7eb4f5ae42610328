"""Decide from a DICOM file's attributes whether it says that it is no frontal radiograph of a chest.

An attribute that is missing, or that says nothing clear, refuses nothing: secondary captures have few, and the picture
is looked at afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pneumonia.imaging.refusal import Code, DicomAttributes

RADIOGRAPHS = ("CR", "DX", "DR", "RG", "OT", "SC", "")
"""Modalities that may hold a radiograph (DICOM PS3.3, C.7.3.1.1.1); OT, SC and none are looked at as pictures."""

_STORAGE = {  # SOP Class UIDs of images whose modality is missing (PS3.4, B.5)
    "1.2.840.10008.5.1.4.1.1.1.2": "MG",
    "1.2.840.10008.5.1.4.1.1.1.3": "IO",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.6.1": "US",
    "1.2.840.10008.5.1.4.1.1.12.1": "XA",
    "1.2.840.10008.5.1.4.1.1.12.2": "RF",
    "1.2.840.10008.5.1.4.1.1.20": "NM",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
}
_CHEST = ("CHEST", "THORA", "TORAX", "LUNG", "PULM", "POUMON")
_ANY_PART = ("", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "OTHER", "TRUNK", "BODY", "WHOLEBODY", "NA", "N/A", "NONE")
_SIDEWAYS = ("LL", "RL", "LLO", "RLO", "LLD", "RLD", "LAO", "RAO", "LPO", "RPO", "L", "R")
_SIDEWAYS_WORDS = ("LAT", "OBLIQ", "DECUB", "AXIAL")


class Found(NamedTuple):
    """Why the attributes refuse an image, as in `pneumonia.inference.input_check.Assessment`."""

    code: Code
    reason: str
    remedy: str


def refuse(attributes: DicomAttributes) -> Found | None:
    """Return why a file's own attributes say that it is no frontal chest radiograph; None where they do not."""
    return next(_refusals(attributes), None)


def _refusals(attributes: DicomAttributes) -> Iterator[Found]:
    modality = attributes.modality or _STORAGE.get(attributes.storage, "")
    if modality not in RADIOGRAPHS:
        reason = f"is a DICOM image of modality {modality[:16]}, not a radiograph (CR or DX)"
        yield Found("modality", reason, "give the radiograph of the study")
    part = attributes.body_part
    if part not in _ANY_PART and not any(word in part for word in _CHEST):
        reason = f"is a DICOM image whose body part is {part[:16]}, not CHEST"
        yield Found("body_part", reason, "give a radiograph of the chest, or correct Body Part Examined")
    if is_sideways(attributes):
        shown = attributes.view or "\\".join(attributes.orientation)
        reason = f"is a DICOM image whose view is {shown[:16]}, not PA or AP"
        yield Found("view", reason, "give the frontal view of the study, or correct View Position")


def is_sideways(attributes: DicomAttributes) -> bool:
    """Return whether the view, or where it is missing the orientation of the rows, is a lateral or an oblique one."""
    view = attributes.view
    if view:
        return view in _SIDEWAYS or any(word in view for word in _SIDEWAYS_WORDS)
    return bool(attributes.orientation) and attributes.orientation[0][:1] in ("A", "P")


def is_mirrored(attributes: DicomAttributes) -> bool:
    """Return whether the rows run towards the patient's right, so that the patient is seen from behind."""
    return bool(attributes.orientation) and attributes.orientation[0] == "R"
