"""Make the next data version from kept images and settled labels: gather them, ingest, audit, record."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pneumonia.config.schema import CLASSES, PHANTOM_ROOT, Config
from pneumonia.data.audit.report import audit, markdown
from pneumonia.data.ingest import Candidate, IngestReport, digest_in, fill, ingest, pack_all
from pneumonia.data.layout import INGESTED, find_root, is_ingested
from pneumonia.data.packing import Packed
from pneumonia.data.phantom import dataset
from pneumonia.data.recording import add_version, commit_record, find_record
from pneumonia.errors import ConfigError
from pneumonia.files import write_text
from pneumonia.monitoring.database import Database, monitoring_folder
from pneumonia.monitoring.feedback import reviewed_events
from pneumonia.monitoring.kept_images import digest_of, kept_path
from pneumonia.progress import Progress, silent, within
from pneumonia.records.feedback import LEFT_OUT, Ingested, ReviewedEvent


@dataclass(frozen=True)
class Gathered:
    """What feedback offers to a data version.

    Attributes:
        candidates: images with a settled label that were kept, each once; their files may be gone.
        unsettled: sha256 of kept images without a settled label, or with events that contradict each other.
        left_out: settled events or images that cannot be used, by reason.
        states: events by the state of their label.
    """

    candidates: tuple[Candidate, ...]
    unsettled: frozenset[str]
    left_out: Mapping[str, int]
    states: Mapping[str, int]


def ingest_feedback(
    config: Config,
    progress: Progress = silent,
    *,
    until: float = math.inf,
    commit: bool = False,
    project: Path | None = None,
) -> Ingested:
    """Bring kept images with settled labels into the training folder of the next data version, and record that.

    The data version is `monitoring.data_root`, which is filled with the files of `data.root` first, or `data.root`
    itself. Whoever repeats it, after a success or a kill, gets the same. One call at a time, of one work folder.

    Args:
        config: data, preprocess, monitoring and the work folder.
        progress: called with the share that is done.
        until: seconds since 1970; what readers said later is left for the next time.
        commit: commit the ``.dvc`` file.
        project: folder of ``data.dvc``; the working directory by default.

    Raises:
        ConfigError: the data are phantoms that are drawn into the work folder, and no data_root is set.
        DataError: the data set, DVC or Git cannot be used.
        MonitoringError: the database is away.
    """
    database = Database.of(config)
    try:
        gathered = gather(database, monitoring_folder(config), until)
    finally:
        database.close()
    work = Path(config.work).resolve()
    target = version_root(config)
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work / f"ingest-{hashlib.sha256(bytes(target)).hexdigest()[:16]}.lock"):
        root = _version(config, work, target, within(progress, 0.0, 0.3, "filling the data version"))
        on_progress = within(progress, 0.3, 0.7, "looking at images")
        done = ingest(root, gathered.candidates, gathered.unsettled, config, on_progress)
        packed = pack_all(root, config)
        leaks = _audited(packed, config, work)
        progress(0.9, 1.0, "recording the data version")
        return _recorded(root, gathered, done, packed, leaks, commit=commit, project=project)


def version_root(config: Config) -> Path:
    """Return the folder of the data version that feedback enters."""
    given = config.monitoring.data_root
    return Path(config.data.root if given == "auto" else given).resolve()


def count_waiting(database: Database, config: Config) -> Counter[str]:
    """Count the kept images with a settled label that the data version does not hold yet, by class."""
    root = version_root(config)
    held = {digest_in(path.name) for path in root.rglob(f"{INGESTED}*")} if root.is_dir() else set()
    found = gather(database, monitoring_folder(config)).candidates
    return Counter(CLASSES[each.label] for each in found if digest_in(each.path) not in held and each.file.is_file())


def gather(database: Database, folder: Path, until: float = math.inf) -> Gathered:
    """Find the kept images that readers have spoken about, one candidate an image, whatever the number of its events.

    Args:
        database: of events and feedback.
        folder: of monitoring, with the kept images.
        until: seconds since 1970; what readers said later is left out.
    """
    events = reviewed_events(database, until=until)
    by_image: dict[str, list[ReviewedEvent]] = {}
    left_out, candidates, unsettled = Counter[str](), list[Candidate](), set[str]()
    for event in events:
        if event.image:
            by_image.setdefault(event.image, []).append(event)
        elif event.state == "settled":
            left_out["no kept image"] += 1
    for image, about in sorted(by_image.items()):
        labels = {event.label for event in about if event.label is not None}
        disputed = len(labels) > 1 or any(event.state == "disputed" for event in about)
        if disputed or not labels:
            unsettled.add(digest_of(image))
            left_out["labels differ"] += bool(labels)
        elif (file := kept_path(folder, image)) is None:
            left_out["no kept image"] += 1
        else:
            patients = tuple(sorted({event.patient for event in about if event.patient}))
            candidates.append(Candidate(file, digest_of(image), CLASSES.index(str(labels.pop())), patients))
    states = Counter[str](event.state for event in events)
    return Gathered(tuple(candidates), frozenset(unsettled), dict(+left_out), dict(states))


def _version(config: Config, work: Path, target: Path, progress: Progress) -> Path:
    """Return the folder that holds train/ and test/ of the data version."""
    if config.data.root != PHANTOM_ROOT:
        return find_root(target) if config.monitoring.data_root == "auto" else fill(Path(config.data.root), target)
    if config.monitoring.data_root == "auto":
        raise ConfigError(
            "data.root=phantom: phantoms are drawn into the work folder, which other settings share; name a folder for "
            "the data version that feedback enters: monitoring.data_root=DIR"
        )
    drawn = dataset.generate(dataset.folder_of(work, config.phantom), config.phantom, progress)
    return fill(drawn, target)


def _audited(packed: Packed, config: Config, work: Path) -> tuple[str, ...]:
    report = audit(packed, config.data)
    folder = work / "audits" / f"ingested-{packed.manifest.digest[:16]}"
    write_text(folder / "audit.json", report.model_dump_json(indent=2))
    write_text(folder / "audit.md", markdown(report))
    packed.manifest.save(folder / "manifest.csv")
    return tuple(report.leaks)


def _recorded(
    root: Path,
    gathered: Gathered,
    done: IngestReport,
    packed: Packed,
    leaks: tuple[str, ...],
    *,
    commit: bool,
    project: Path | None,
) -> Ingested:
    left_out = Counter(gathered.left_out) + Counter(done.left_out)
    there = Counter(CLASSES[entry.label] for entry in packed.manifest.entries if is_ingested(entry.path))
    found = Ingested(
        root=str(root),
        digest=packed.manifest.digest,
        added=done.added,
        total={name: there[name] for name in CLASSES},
        relabelled=len(done.relabelled),
        withdrawn=len(done.withdrawn),
        left_out={reason: left_out[reason] for reason in LEFT_OUT if left_out[reason]},
        unsettled={state: gathered.states.get(state, 0) for state in ("open", "disputed")},
        leaks=leaks,
    )
    record = find_record(root, project)
    if record is None:
        notes = ("no .dvc file records this folder, so that nothing was committed",) if commit else ()
        return found.model_copy(update={"notes": notes})
    record, note = add_version(record, packed.md5)
    hash_, notes = (record.md5, ()) if not note else (None, (note,))
    made: str | None = None
    if commit and not note:
        made, why = commit_record(record, f"Data version with labels of readers: {found.sentence()}")
        notes = (why,) if why else ()
    return found.model_copy(update={"dvc_md5": hash_, "commit": made, "notes": notes})
