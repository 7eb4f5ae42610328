"""The commands ``pneumonia data fetch``, ``phantom``, ``audit``, ``ingest`` and ``verify``."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pneumonia.cli.common import (
    DISCLAIMER,
    FINDING,
    ConfigFile,
    Json,
    OnUnreadable,
    Settings,
    complain,
    emit,
    emit_json,
    path_of,
    progress,
    resolve_config,
    working,
)
from pneumonia.config.schema import DATA_FOLDER, PHANTOM_ROOT, Config
from pneumonia.data.dvc import RECORD
from pneumonia.errors import DataError
from pneumonia.files import printable

if TYPE_CHECKING:
    from pneumonia.data.packing import Packed

app = typer.Typer(help="Fetch, draw and check radiographs.", no_args_is_help=True, rich_markup_mode="markdown")


VERIFY_REMEDY = (
    "to bring the recorded files back: move these files and .dvc/cache away, dvc remote modify --local NAME verify "
    "true, then dvc pull; what cannot be pulled then is damaged or missing in the remote: have it pushed there again"
)


class Source(StrEnum):
    """The source of the published radiographs."""

    mendeley = "mendeley"
    kaggle = "kaggle"


@app.command()
def fetch(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=path_of, help="Target folder; chest_xray/ is created in it")
    ] = (DATA_FOLDER.parent),
    source: Annotated[Source, typer.Option("--from", help="Mendeley Data, or Kaggle's copy")] = Source.mendeley,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another address of the archive", show_default=False)
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Expected SHA-256 of the archive", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Download the published radiographs (1.2 GB). An interrupted download is resumed.

    Kermany, Zhang, Goldbaum: Mendeley Data 10.17632/rscbjbr9sj, CC BY 4.0.

    Example: `pneumonia data fetch data`
    """
    if source is Source.kaggle and (url or sha256):
        raise typer.BadParameter("--url and --sha256 need --from mendeley; kagglehub has Kaggle's address")
    with working():
        from pneumonia.data.download.published import MENDELEY_URL, fetch, fetch_kaggle

        if source is Source.kaggle:
            with progress("linking images") as on_progress:
                root = fetch_kaggle(folder, on_progress)
        else:
            with progress("downloading", of_bytes=True) as on_progress, progress("unpacking") as unpacking:
                root = fetch(folder, url or MENDELEY_URL, sha256, on_progress, unpacking)
    if as_json:
        emit_json({"root": str(root)})
    else:
        emit(f"images in {root}; next: pneumonia data audit {root}")


@app.command()
def phantom(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", parser=path_of, help="Target folder; one of the work folder's by default"),
    ] = None,
    train: Annotated[int | None, typer.Option(metavar="N", help="Images in train/, both classes together")] = None,
    test: Annotated[int | None, typer.Option(metavar="N", help="Images in test/, both classes together")] = None,
    size: Annotated[int | None, typer.Option(metavar="PIXELS", help="Side of an image")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the generator")] = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Draw synthetic chest radiographs (phantoms). They show no patient, and a model of them is valid for none.

    Example: `pneumonia data phantom /tmp/phantoms --train 1200 --test 400`
    """
    named = {"train": train, "test": test, "size": size, "seed": seed}
    config = resolve_config(file, settings, {f"phantom.{key}": value for key, value in named.items()})
    with working():
        root = _draw(config, folder)
    if as_json:
        emit_json({"root": str(root), **config.phantom.model_dump()})
    else:
        emit(f"{config.phantom.train} + {config.phantom.test} phantoms in {root}")


@app.command()
def audit(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Folder that holds train/ and test/; data.root by default"),
    ] = None,
    on_unreadable: OnUnreadable = None,
    test_folder: Annotated[
        bool,
        typer.Option(
            "--test-folder", help="Evaluate shortcuts on the test folder too; an opening of the release set is entered"
        ),
    ] = False,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Check a data set: unreadable, duplicate and misplaced images, patients in several splits, shortcuts.

    All images are checked, whatever data.patient_fraction is. Ends with 1 where a finding would stop a pipeline that
    uses all of them, as profile full does.

    Example: `pneumonia data audit data/chest_xray --json`
    """
    config = resolve_config(file, settings, {"data.root": folder, "data.on_unreadable": on_unreadable})
    with working():
        from pneumonia.data import packing
        from pneumonia.data.audit.report import audit, markdown

        root = Path(config.data.root)
        if config.data.root == PHANTOM_ROOT:
            root = _draw(config)
        # here unreadable images are a finding, even where they would stop the pipeline, and no patient is left out
        lenient = config.data.model_copy(update={"on_unreadable": "skip", "patient_fraction": 1.0})
        with progress("decoding images") as on_progress:
            packed = packing.pack(root, lenient, config.preprocess, Path(config.work), on_progress)
        complain(f"{len(packed.manifest.entries)} images in {root}; looking for duplicates, leaks and shortcuts")
        if test_folder:
            _enter_opening(config, packed)
        report = audit(packed, config.data, test_folder=test_folder)
    if as_json:
        emit_json(report.model_dump(mode="json"))
    else:
        emit(f"# Audit of {printable(root)}\n\n{markdown(report)}\n{DISCLAIMER}")
    if report.leaks:
        complain(f"the pipeline would stop: {', '.join(report.leaks)}")
        raise typer.Exit(FINDING)


@app.command()
def verify(
    record: Annotated[
        Path, typer.Argument(metavar="FILE", parser=path_of, help="What dvc add wrote, by default data.dvc")
    ] = RECORD,
    as_json: Json = False,
) -> None:
    """Compare the data, file by file, with the version that data.dvc records. Ends with 1 where they differ.

    DVC takes files that were damaged in a remote for the recorded ones, unless the remote has verify on.

    Example: `pneumonia data verify`
    """
    from pneumonia.data import dvc

    found = dvc.read_record(record)
    if found is None:
        raise DataError(f"{record}: is not there, or records no folder; name a file that dvc add has written")
    with working():
        comparison = dvc.compare(found)
    if as_json:
        emit_json({"folder": str(found.folder), "md5": found.md5, **asdict(comparison)})
    else:
        emit(f"{found.folder}: {comparison}")
    if not comparison.same:
        complain(VERIFY_REMEDY)
        raise typer.Exit(FINDING)


@app.command()
def ingest(
    commit: Annotated[
        bool, typer.Option("--commit", help="Commit the .dvc file, with the counts, where there is a Git repository")
    ] = False,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Bring kept images whose labels readers have settled into the training folder of the next data version.

    The data version is monitoring.data_root, filled with the files of data.root first, or data.root itself. Patients
    of the test folder, duplicates and near-duplicates are left out. Ends with 1 where the audit would stop a pipeline.

    Example: `pneumonia data ingest --set monitoring.data_root=data/next --commit`
    """
    config = resolve_config(file, settings)
    with working():
        from pneumonia.monitoring.ingestion import ingest_feedback

        with progress("ingesting") as on_progress:
            done = ingest_feedback(config, on_progress, commit=commit)
    if as_json:
        emit_json(done.model_dump(mode="json"))
    else:
        emit(f"{done.root}: {done.sentence()}")
        for words, counts in (("left out", done.left_out), ("without a settled label", done.unsettled)):
            emit(f"{words}: {', '.join(f'{count} {reason}' for reason, count in counts.items()) or 'none'}")
        emit(f"data version {done.digest[:12]}" + (f", recorded by DVC as {done.dvc_md5}" if done.dvc_md5 else ""))
        if done.commit:
            emit(f"commit {done.commit}")
    for note in done.notes:
        complain(note)
    if done.leaks:
        complain(f"the pipeline would stop: {', '.join(done.leaks)}; see pneumonia data audit {done.root}")
        raise typer.Exit(FINDING)


def _enter_opening(config: Config, packed: Packed) -> None:
    """Enter that the labels of the test folder are read, without a model."""
    from pneumonia.registry import openings
    from pneumonia.tracking.client import check_store, tracking_uri

    uri = tracking_uri(config)
    check_store(uri)
    files = [entry.sha256 for entry in packed.manifest.entries if entry.folder == "test"]
    number = openings.enter(
        uri,
        openings.enter_images(uri, files),
        weights="",
        model="no model",
        purpose="pneumonia data audit",
        demo=packed.phantom,
    )
    complain(f"opening {number} of the release set")


def _draw(config: Config, folder: Path | None = None) -> Path:
    from pneumonia.data.phantom import dataset

    with progress("drawing phantoms") as on_progress:
        target = folder or dataset.folder_of(Path(config.work), config.phantom)
        return dataset.generate(target, config.phantom, on_progress)
