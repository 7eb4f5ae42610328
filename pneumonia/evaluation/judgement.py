"""Judge a candidate: by the change control plan on gate set and release set, or as a demo on the release set alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pneumonia.config.policy import Policy, violations
from pneumonia.config.schema import CLASSES, Config
from pneumonia.data import packing
from pneumonia.data.manifest import Manifest
from pneumonia.errors import DataError
from pneumonia.evaluation import gate, gate_set
from pneumonia.evaluation.scored_model import VIEWS, Model, Split
from pneumonia.evaluation.shortcut_ablation import measure_dependence
from pneumonia.progress import Progress
from pneumonia.records.evaluation import Champion, Metric, ModelComparison, Reason, ShortcutDependence, Verdict
from pneumonia.records.steps import Dataset, TrainedModel
from pneumonia.registry import models, moves, openings
from pneumonia.statistics.metrics import Scored, compute_metrics


@dataclass
class Judgement:
    """What is found about a candidate, as far as it was looked at."""

    dataset: Dataset
    trained: TrainedModel
    config: Config
    champion: models.Version | None
    progress: Progress
    model: Model
    manifest: Manifest
    reasons: list[Reason] = field(default_factory=list)
    comparisons: list[ModelComparison] = field(default_factory=list)
    gate_metrics: dict[str, dict[str, Metric]] = field(default_factory=dict)
    release_metrics: dict[str, Metric] = field(default_factory=dict)
    dependence: dict[str, ShortcutDependence] = field(default_factory=dict)
    measured: tuple[Split, Scored] | None = None
    opened: int | None = None

    def split(self, name: str) -> Split:
        return Split.of(packing.open_pixels(Path(self.dataset.pixels)), self.manifest, name)

    def judge_demo(self) -> None:
        """Open the release set, and judge by the minimums of the profile."""
        split = self.open_release_set(None)
        self.measure_dependence(split, control=False)
        self.reasons += gate.demo_reasons(self.release_metrics, self.config.gate, self.dependence)
        if self.champion is None:
            self.reasons.append(gate.no_champion_reason())
        elif self.champion.is_model(self.model.record):
            self.reasons.append(gate.already_champion_reason(_named(self.champion)))

    def judge_by(self, policy: Policy) -> None:
        """Judge by the plan: on the gate set, and where nothing refuses the model on the release set."""
        split = self.split("gate")
        if len(set(split.images.labels.tolist())) < len(CLASSES):
            raise DataError(
                f"the gate set has no {' and no '.join(self.missing(split))} image: at least three patients of a class "
                "and data.gate_fraction above 0 are needed; a demo has no gate set (--set gate.demo=true)"
            )
        self.progress(0.1, 1.0, "scoring the gate set, as it is and without shortcuts")
        scored = gate_set.score_views(self.model, split)
        self.gate_metrics = {view: compute_metrics(scored[view], self.config.evaluation) for view in VIEWS}
        self.measured = split, scored[VIEWS[0]]
        champion_patients = self.compare(split, scored, policy)
        patients = self.model.record.training_patients or 0
        outside = violations(policy, self.config, self.model.record.classes, patients, champion_patients)
        self.reasons.insert(0, gate.plan_reason(outside))
        self.measure_dependence(split, control=True)
        self.reasons.append(gate.dependence_reason(self.dependence, policy))
        self.reasons.append(gate.calibration_reason(self.gate_metrics[VIEWS[0]], policy))
        if all(reason.passed for reason in self.reasons):
            self.open_release_set(policy)
            self.reasons += gate.release_reasons(self.release_metrics, policy)

    def compare(self, split: Split, scored: Mapping[str, Scored], policy: Policy) -> int | None:
        """Compare with the champion and the reference; return how many patients the champion was trained on."""
        uri, name, patients = self.trained.tracking_uri, self.config.registry.name, None
        if self.champion is None:
            self.reasons.append(gate.no_champion_reason())
        for kind, version in gate_set.opponents(uri, name, self.champion, policy):
            self.progress(0.3, 1.0, f"comparing with the {kind}, version {version.version}")
            other = gate_set.load_version(uri, version, self.model.compute)
            found = gate_set.compare_with(
                kind, version, other, scored, split, Path(self.dataset.root), self.config, policy
            )
            self.comparisons += found
            self.reasons += [gate.comparison_reason(comparison, policy) for comparison in found]
            if kind == "champion":
                patients = other.record.training_patients
                if self.model.record.is_same_model(other.record):
                    self.reasons.append(gate.already_champion_reason(_named(version)))
        return patients

    def verdict(self, policy: Policy | None) -> Verdict:
        """Put together what was found."""
        if self.measured is None:
            raise ValueError("a model is judged after it was scored")
        released = self.opened is not None
        return gate.verdict(
            self.reasons,
            self.release_metrics if released else self.gate_metrics[VIEWS[0]],
            None if self.champion is None else _named(self.champion),
            policy,
            self.comparisons,
            self.gate_metrics,
            released=released,
        )

    def missing(self, split: Split) -> list[str]:
        return [name for label, name in enumerate(CLASSES) if label not in split.images.labels]

    def open_release_set(self, policy: Policy | None) -> Split:
        """Enter the opening, score the release set and compute the metrics."""
        split, uri = self.split("test"), self.trained.tracking_uri
        since = ""
        if policy is not None:
            since = moves.last_promotion(uri, self.config.registry.name)
        self.opened = openings.enter(
            uri,
            openings.enter_images(uri, split.digests),
            weights=self.trained.weights_digest,
            model=self.config.registry.name,
            purpose=openings.GATE,
            demo=policy is None,
            limit=None if policy is None else policy.protocol.openings_per_release,
            since=since,
        )
        self.progress(0.6, 1.0, "scoring the release set")
        scored = self.model.score(split.images)
        self.measured = split, scored
        self.progress(0.7, 1.0, "bootstrap by patient")
        self.release_metrics = compute_metrics(scored, self.config.evaluation)
        return split

    def measure_dependence(self, split: Split, *, control: bool) -> None:
        self.progress(0.45, 1.0, "scoring again without each shortcut")
        known = None if self.measured is None else np.asarray(self.measured[1].probabilities)
        self.dependence = measure_dependence(
            self.model.network,
            split.images,
            self.model.record.preprocess,
            self.config.evaluation,
            self.model.compute,
            control=control,
            known=known,
        )


def _named(version: models.Version) -> Champion:
    return Champion(version=version.version, weights_digest=version.weights_digest)
