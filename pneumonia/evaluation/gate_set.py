"""Compare a candidate with registered models on the gate set, images as they are and without shortcuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from pneumonia.config.policy import Policy
from pneumonia.config.schema import Config
from pneumonia.data import packing
from pneumonia.errors import DataError
from pneumonia.evaluation.scored_model import VIEWS, Model, Split, part
from pneumonia.modelling.device import Compute
from pneumonia.records.evaluation import ModelComparison
from pneumonia.registry import models, moves, verified
from pneumonia.registry.models import Version
from pneumonia.statistics.comparison import compare_models
from pneumonia.statistics.metrics import Scored

Opponent = Literal["champion", "reference"]


def opponents(uri: str, name: str, champion: Version | None, policy: Policy) -> Iterator[tuple[Opponent, Version]]:
    """Yield the models that a candidate is compared with: the champion, and the reference where it is another.

    Raises:
        PneumoniaError: the plan names a reference that is not registered.
        TrackingError: the registry cannot be reached.
    """
    if champion is None:
        return
    yield "champion", champion
    if (reference := reference_of(uri, name, policy)) is not None and reference.version != champion.version:
        yield "reference", reference


def reference_of(uri: str, name: str, policy: Policy) -> Version | None:
    """Return the pinned reference: the version that the plan names, or the first champion that is not withdrawn."""
    if policy.protocol.reference:
        return models.get(uri, name, policy.protocol.reference)
    known = {version.version: version for version in models.versions(uri, name)}
    line = moves.standing(uri, name).line
    return next((known[version] for version in line if version in known), None)


def score_views(model: Model, split: Split) -> dict[str, Scored]:
    """Score a split in both views."""
    return {view: model.score(split.images, view) for view in VIEWS}


def load_version(uri: str, version: Version, compute: Compute) -> Model:
    """Load a registered model, verified; raises as `verified.fetched` does."""
    with verified.fetched(uri, version) as (path, _):
        return Model.load(path, compute)


def compare_with(
    opponent: Opponent,
    version: Version,
    model: Model,
    candidate: Mapping[str, Scored],
    split: Split,
    root: Path,
    config: Config,
    policy: Policy,
) -> list[ModelComparison]:
    """Compare a candidate with a registered model in both views, each preprocessed and decided as its record says.

    Args:
        opponent: champion or reference.
        version, model: the registered model.
        candidate: of `score_views`.
        split: the gate set.
        root: folder of the images.
        config: of the candidate.
        policy: the margins.

    Raises:
        DataError: none of the images, or only ones of one class, are the same.
    """
    packed = packing.pack(root, config.data, model.record.preprocess, Path(config.work).resolve())
    kept, images = split.equal_in(packed.pixels, packed.manifest)
    if len(np.unique(images.labels)) < 2:
        raise DataError(
            f"the files of {len(split.images) - len(kept)} of {len(split.images)} images of the gate set have changed "
            f"since they were decoded, and what is left cannot be compared with the {opponent}; run the pipeline again "
            "from prepare_data"
        )
    return [
        ModelComparison(
            opponent=opponent,
            version=version.version,
            view=view,
            metrics=compare_models(
                part(candidate[view], kept), model.score(images, view), policy.protocol.margins, config.evaluation
            ),
            images=len(kept),
            of=len(split.images),
            seen=_may_have_seen(model, config),
        )
        for view in VIEWS
    ]


def _may_have_seen(model: Model, config: Config) -> bool:
    """Return whether a model was trained with another gate set, or before there was one."""
    return bool(model.record.config.get("data", {}).get("gate_fraction") != config.data.gate_fraction)
