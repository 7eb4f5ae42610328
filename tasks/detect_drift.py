"""First step of the loop: compare the last images that were answered with the champion's reference."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from filelock import FileLock
from safetensors.numpy import load_file

from pneumonia.config.schema import Config
from pneumonia.files import write_text
from pneumonia.monitoring import feedback, verdicts
from pneumonia.monitoring.database import Database, monitoring_folder
from pneumonia.monitoring.events import read_window
from pneumonia.monitoring.judge import Looked, judge
from pneumonia.monitoring.sample import Sample
from pneumonia.monitoring.window import open_detector, sample_of, settings_of, verdict_key
from pneumonia.progress import Progress, silent
from pneumonia.records.drift import DriftVerdict
from pneumonia.records.export import REFERENCE, read_model_record
from pneumonia.records.loop import DriftCheck
from pneumonia.registry.mirror import Champion
from pneumonia.registry.reader import open_reader
from pneumonia.reporting.drift_report import write_drift_report
from pneumonia.tracking.client import run_exists, tracking_uri
from pneumonia.tracking.run import Run

DAY = 86_400
REPORTS, CHECK = "reports", "check.json"
log = logging.getLogger(__name__)


def detect_drift(config: Config, progress: Progress = silent, tags: Mapping[str, str] | None = None) -> DriftCheck:
    """Judge the last images of the champion's stream; the verdict is stored, reported and logged.

    The same images are judged once: a second call returns the stored verdict.

    Args:
        config: names the registry, the monitoring database and the window.
        progress: called with the share that is done.
        tags: of the MLflow run, such as the orchestrator's own run id.

    Raises:
        MonitoringError: the database is away.
        TrackingError: the registry or the tracking server is away.
    """
    reader = open_reader(config)
    champion = reader.champion()
    if champion is None:
        names = ", ".join(reader.names)
        return DriftCheck(words=f"there is no champion of {names}; name another with --set serving.model=NAME")
    named = {"name": champion.name, "version": champion.version}
    database = Database.of(config)
    try:
        rows = read_window(
            database,
            champion.model_digest,
            config.monitoring.window,
            since=time.time() - DAY * config.monitoring.max_days,
        )
        if not rows:
            return DriftCheck(**named, words=f"version {champion.version} of {champion.name} has answered nothing yet")
        progress(0.2, 1.0, f"comparing {len(rows)} images with the reference")
        folder = reader.folder(champion)
        return _check(config, database, champion, folder, rows, progress, dict(tags or {}))
    finally:
        database.close()


def _check(
    config: Config,
    database: Database,
    champion: Champion,
    folder: Path,
    rows: Sequence[sa.RowMapping],
    progress: Progress,
    tags: dict[str, str],
) -> DriftCheck:
    record = read_model_record(folder)
    arrays, place = load_file(folder / REFERENCE), monitoring_folder(config)
    named = {"name": champion.name, "version": champion.version}
    of = f"version {champion.version} of {champion.name}"
    settings = settings_of(config.monitoring)
    try:
        reference = Sample.of_reference(arrays, record.threshold)
        detector = open_detector(reference, settings, place)
    except KeyError:
        words = f"{of} was exported without the images that its stream is compared with; nothing is compared"
        return DriftCheck(**named, words=words)
    except ValueError as error:
        return DriftCheck(**named, words=f"the reference of {of} is too small: {error}")
    labels = feedback.labels_for(database, [row["event_id"] for row in rows])
    key = verdict_key(champion.model_digest, rows, labels, settings.digest())
    window = sample_of(rows, labels, reference.embeddings.shape[1], record.threshold)
    page = place / REPORTS / key[:16]
    page.mkdir(parents=True, exist_ok=True)
    with FileLock(page / "lock"):  # two looks at the same images are one
        found = _finished(config, page / CHECK)
        if found is None:
            verdict = verdicts.find_verdict(database, key)
            if verdict is None:
                verdict = judge(detector, window, _looked(champion, rows))
                verdict = verdicts.store_verdict(database, key, verdict)
            progress(0.6, 1.0, "writing the report")
            report = write_drift_report(page, verdict, (reference.probabilities, window.probabilities))
            run_id, url = _log(config, key, verdict, report, tags)
            found = DriftCheck(
                **named,
                verdict=verdict,
                key=key,
                words=describe(verdict),
                report=str(report),
                run_id=run_id,
                run_url=url,
            )
            write_text(page / CHECK, found.model_dump_json(indent=2))
    verdicts.touch_verdict(database, key)
    log.info("%s", found.words)
    progress(1.0, 1.0, found.words)
    return found


def _finished(config: Config, path: Path) -> DriftCheck | None:
    """Return the result of an earlier look at the same images, if the tracking server has its run."""
    if not path.exists():
        return None
    found = DriftCheck.model_validate_json(path.read_text(encoding="utf-8"))
    return found if found.run_id is not None and run_exists(tracking_uri(config), found.run_id) else None


def _looked(champion: Champion, rows: Sequence[sa.RowMapping]) -> Looked:
    return Looked(
        name=champion.name,
        version=champion.version,
        model_digest=champion.model_digest,
        checked_at=_iso(time.time()),
        since=_iso(rows[0]["at"]),
        until=_iso(rows[-1]["at"]),
        first_event=rows[0]["event_id"],
        last_event=rows[-1]["event_id"],
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def describe(verdict: DriftVerdict) -> str:
    """Say in a sentence what a look at drift found."""
    seen = f"{verdict.images} images of version {verdict.version} of {verdict.name}"
    if verdict.kind == "too few":
        return f"{seen}: too few to compare"
    state = f"ALARM, {verdict.kind}" if verdict.alarm else "no change"
    return f"{seen}: {state} (score {verdict.score:.2f}, an alarm from 1 on)"


def _log(config: Config, key: str, verdict: DriftVerdict, report: Path, tags: dict[str, str]) -> tuple[str, str | None]:
    """Log the verdict in an experiment of its own."""
    tracking = config.tracking.model_copy(
        update={"experiment": f"{config.tracking.experiment}-monitoring", "system_metrics": False}
    )
    told = {"model": f"{verdict.name}/{verdict.version}", "alarm": str(verdict.alarm).lower(), "kind": verdict.kind}
    run = Run.open(config.model_copy(update={"tracking": tracking}), key, f"drift-{verdict.checked_at}", tags | told)
    try:
        run.log_metrics({"drift_score": verdict.score, "images": verdict.images, "refused": verdict.refused})
        run.log_metrics({f"drift_{name}": score for name, score in verdict.scores().items()})
        for prefix, metrics in (("estimated_", verdict.estimated), ("measured_", verdict.measured)):
            run.log_intervals(metrics, prefix)
        write_text(report.parent / "verdict.json", verdict.model_dump_json(indent=2))
        run.log_folder(report.parent, "report")
    except BaseException:
        run.finish("FAILED")
        raise
    run.finish()
    return run.id, run.url
