"""Fetch a model from the registry or a run, and check that it is the one that was registered.

Every consumer of a registered model gets its file here; nothing of it loads torch.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pneumonia.errors import DataError, PneumoniaError
from pneumonia.records.model import WEIGHTS_ARTIFACT, ModelRecord, first_line, read_record
from pneumonia.registry.models import Version
from pneumonia.tracking.client import download_artifact


@contextmanager
def fetched(uri: str, version: Version) -> Iterator[tuple[Path, ModelRecord]]:
    """Download the file of a registered version, and yield it with its record once it is verified.

    The file is deleted at the end.

    Raises:
        PneumoniaError: the weights, or how the record says that they are used, are not those that were registered.
        DataError: the file is damaged.
        TrackingError: the store cannot be used.
    """
    with fetched_run(uri, version.run_id) as (path, record):
        check_registered(version, record)
        yield path, record


@contextmanager
def fetched_run(uri: str, run_id: str) -> Iterator[tuple[Path, ModelRecord]]:
    """Download the file of a run's model, and yield it with its record once its weights have the recorded digest.

    Raises:
        DataError: the file is damaged.
        TrackingError: the store cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = download_artifact(uri, run_id, WEIGHTS_ARTIFACT, Path(folder))
        record = read_record(path)
        if (found := weights_digest(path)) != record.weights_digest:
            raise DataError(
                f"run {run_id}: its weights have the digest {found[:12]}, and by their record it is "
                f"{record.weights_digest[:12]}; restore the artifact {WEIGHTS_ARTIFACT} from a backup"
            )
        yield path, record


def weights_digest(path: Path) -> str:
    """Return the digest of a safetensors file's tensors, as `pneumonia.modelling.weights.state_digest` computes it.

    Raises:
        DataError: the file cannot be read.
    """
    total = hashlib.sha256()
    try:
        with safe_open(path, framework="np") as file:
            for name in sorted(file.keys()):
                array = file.get_tensor(name)
                total.update(f"{name}|torch.{array.dtype}|{array.shape}|".encode())
                total.update(array.tobytes())
    except (OSError, SafetensorError, TypeError) as error:
        raise DataError(f"{path}: its weights cannot be read ({first_line(error)}); fetch the file again") from None
    return total.hexdigest()


def check_registered(version: Version, record: ModelRecord) -> None:
    """Check that a record is of the model that was registered.

    Raises:
        PneumoniaError: its weights, or how they are used, are others.
    """
    if version.weights_digest != record.weights_digest:
        raise PneumoniaError(
            f"{version.uri}: run {version.run_id} holds other weights than were registered "
            f"({record.weights_digest[:12]}, registered {version.weights_digest[:12] or 'none'}); "
            "restore the run's artifact from a backup, or choose another version"
        )
    if version.model_digest and version.model_digest != record.model_digest():
        raise PneumoniaError(
            f"{version.uri}: the record in run {version.run_id} uses these weights in another way than was registered "
            "(threshold, preprocessing, architecture or flip_tta); restore the run's artifact from a backup, or choose "
            "another version"
        )
