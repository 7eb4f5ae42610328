"""Last step: register a model that has passed the gate and make it champion; a model that has not is not registered."""

from __future__ import annotations

from pathlib import Path

from pneumonia.config.schema import Config
from pneumonia.progress import Progress, silent, within
from pneumonia.records.model import read_record
from pneumonia.records.steps import BuiltDossier, Dataset, ExportedModel, Promotion, TrainedModel, Validation
from pneumonia.registry import ledger, models, moves, outside, registration
from pneumonia.registry.mirroring import update_mirror
from pneumonia.reporting.card import card
from pneumonia.timing import reports_time
from pneumonia.tracking.run_tags import PROMOTION_TAG, TRACE_TAG, read_tag, tag_run
from tasks import build_dossier, validate_model


@reports_time
def promote_model(
    trained: TrainedModel,
    exported: ExportedModel,
    validation: Validation,
    built: BuiltDossier,
    config: Config,
    progress: Progress = silent,
) -> Promotion:
    """Register the model and make it champion, if its verdict is passed; a second call changes nothing.

    A verdict is valid for the champion that it was reached against. Where another version is champion by now, nothing
    is promoted and the result asks for a new validation.

    Raises:
        PneumoniaError: the registry cannot be reached, or phantoms would become champion of real radiographs.
    """
    promotion = _promote(trained, exported, validation, built, config, progress)
    tag_run(trained.tracking_uri, trained.run_id, {PROMOTION_TAG: promotion.model_dump_json()})
    return promotion


def _promote(
    trained: TrainedModel,
    exported: ExportedModel,
    validation: Validation,
    built: BuiltDossier,
    config: Config,
    progress: Progress,
) -> Promotion:
    name, uri, verdict = config.registry.name, trained.tracking_uri, validation.verdict
    if not verdict.passed:
        reason = "; ".join(reason.text for reason in verdict.reasons if not reason.passed)
        return _refused(uri, name, reason)
    progress(0.3, 1.0, f"registering {name}")
    version = registration.register(uri, read_record(Path(trained.weights)), trained.run_id, trained.model_uri)
    version = registration.register_export(uri, version, exported.export_digest)
    version = registration.register_manifest(uri, version, built.manifest_digest)
    plan = [] if verdict.policy is None else [f"by the change control plan {verdict.policy[:12]}"]
    trace = read_tag(uri, trained.run_id, TRACE_TAG)
    loop = [] if trace is None else [f"loop {trace}"]
    why = "; ".join([*loop, *plan, *(reason.text for reason in verdict.reasons)])
    against = verdict.champion.version if verdict.champion is not None else None
    try:
        done = moves.promote(uri, name, version.version, ledger.who(), why, against=against)
    except moves.ChampionMoved as moved:
        return _refused(uri, name, str(moved), validate_again=True)
    except (moves.VersionWithdrawn, moves.NotApproved) as refused:
        return _refused(uri, name, str(refused))
    _describe(uri, version, trained, validation)
    progress(0.8, 1.0, "writing the mirror that servers start from")
    update_mirror(uri, Path(config.work).resolve(), name)
    return Promotion(
        name=name, promoted=True, version=version.version, previous=done.move.from_version, reason=done.move.why
    )


def _describe(uri: str, version: models.Version, trained: TrainedModel, validation: Validation) -> None:
    """Write the version's card, with the outside metrics that it may have already."""
    verdict, record = validation.verdict, read_record(Path(trained.weights))
    page = card(record, version.uri, outside.registered(uri, version), verdict.metrics, verdict.measured_on)
    outside.set_card(uri, version, page)


def promote_or_validate_again(
    dataset: Dataset,
    trained: TrainedModel,
    exported: ExportedModel,
    validation: Validation,
    built: BuiltDossier,
    config: Config,
    progress: Progress = silent,
) -> tuple[Validation, Promotion]:
    """Promote the model; where the champion has moved since the validation, validate and try once more.

    Only once, so that two pipelines that promote in turns do not read the test labels without end.

    Returns:
        The last validation and the promotion's result.

    Raises:
        PneumoniaError: as `promote_model` and `tasks.validate_model.validate_model`.
    """
    promotion = promote_model(trained, exported, validation, built, config, progress)
    if not promotion.validate_again:
        return validation, promotion
    progress(0.4, 1.0, promotion.reason)
    judging = within(progress, 0.4, 0.9, "validating again")
    again = validate_model.validate_model(dataset, trained, exported, config, judging)
    rebuilt = build_dossier.build_dossier(dataset, trained, exported, again, config)
    return again, promote_model(trained, exported, again, rebuilt, config)


def _refused(uri: str, name: str, reason: str, *, validate_again: bool = False) -> Promotion:
    holder = models.champion(uri, name)
    current = holder.version if holder else None
    return Promotion(
        name=name, promoted=False, version=None, previous=current, reason=reason, validate_again=validate_again
    )
