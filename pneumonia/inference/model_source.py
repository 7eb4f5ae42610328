"""Find a model by its address, and its exported files: in the mirror, in the registry, or exported here.

The champion comes without MLflow and torch: from the mirror in the work folder, brought up to date where a server
answers. Other addresses are looked up with MLflow's client. A model without an export is exported where torch is
installed.
"""

from __future__ import annotations

import importlib.util
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pneumonia.config.schema import Config
from pneumonia.credentials import redacted
from pneumonia.errors import ConfigError, DataError, PneumoniaError, TrackingError
from pneumonia.files import expand_home, is_regular_file
from pneumonia.records.export import read_model_record
from pneumonia.records.model import ModelRecord, read_record
from pneumonia.registry import signed, withdrawals
from pneumonia.registry.mirror import Champion, read_export
from pneumonia.registry.reader import Reader, names_to_serve, open_reader
from pneumonia.registry.signature import SignatureRefused, demanded
from pneumonia.tracking.client import address, check_store, store_is_new, tracking_uri

if TYPE_CHECKING:
    from pneumonia.registry.models import Version

SOURCES = "name a model as models:/NAME@champion, models:/NAME/VERSION, runs:/RUN or a .safetensors file"
EXPORTS = "exports"
"""Folder of the work folder that holds the exports of models that are not champions."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A model's verified exported files, and what it is called."""

    folder: Path
    name: str
    version: str


def find_model(source: str | None, config: Config) -> Found:
    """Return the exported files of a model.

    Args:
        source: ``models:/name@alias``, ``models:/name/3``, ``models:/m-…``, ``runs:/id`` or a ``.safetensors`` file;
            by default the champion that `config.serving.model` names.
        config: names the tracking store and the work folder.

    Raises:
        ConfigError: `source` is none of these.
        SignatureRefused: the configuration demands a signature, and the version's does not verify.
        PneumoniaError: there is no such model, or its files differ from the registered ones.
        TrackingError: the store cannot be used.
    """
    if source is not None and not source.startswith(("models:", "runs:")):
        return _of_file(_file(source), config)
    if source is None:
        return _champion(config, names_to_serve(config))
    if match := re.fullmatch(r"models:/+([^/@]+)@champion", source):
        return _champion(config, [match[1]])
    uri = tracking_uri(config)
    check_store(uri, writing=False)
    if match := re.fullmatch(r"runs:/+([^/]+)(/.*)?", source):
        return _of_run(uri, match[1], config)
    if match := re.fullmatch(r"models:/+(m-[0-9a-f]{32})", source):
        return _of_run(uri, _source_run(uri, match[1]), config)
    if match := re.fullmatch(r"models:/+([^/@]+)[/@]([^/@]+)", source):
        return _of_version(uri, match[1], match[2], config)
    raise ConfigError(f"{source}: is not a model's address; {SOURCES}")


def _champion(config: Config, names: list[str]) -> Found:
    """Return the champion of the first of these names that has one."""
    reader = open_reader(config)
    reader.names = names
    held = _look_up(reader, config)
    if held is None:
        raise _no_champion(config, names)
    if not held.export_digest:
        return _of_version(tracking_uri(config), held.name, held.version, config)
    try:
        return Found(reader.folder(held), held.name, held.version)
    except DataError:
        if _without_mlflow(config):
            raise
        logger.warning("the mirror of %s is damaged, and is written again", held.name)
        return _mirrored_anew(reader, config, held.name)


def _look_up(reader: Reader, config: Config) -> Champion | None:
    try:
        found = reader.champion()
    except TrackingError as error:
        found = reader.mirrored()
        if found is None:
            raise
        logger.warning("%s; using version %s of %s from the mirror", error, found.version, found.name)
        return found
    if found is None and not _without_mlflow(config):
        # of an earlier release, or moved from another work folder: the mirror is written once
        from pneumonia.registry.mirroring import update_mirror

        uri = tracking_uri(config)
        check_store(uri, writing=False)
        for name in reader.names:
            if update_mirror(uri, reader.work, name) is not None:
                return reader.mirrored()
    return found


def _without_mlflow(config: Config) -> bool:
    """Return whether nothing more can be learnt from the store: no MLflow here, none made yet, or a server's."""
    uri = tracking_uri(config)
    server = address(uri).lower().startswith("http")
    return server or store_is_new(uri) or importlib.util.find_spec("mlflow") is None


def _mirrored_anew(reader: Reader, config: Config, name: str) -> Found:
    from pneumonia.registry.mirroring import update_mirror

    held = update_mirror(tracking_uri(config), reader.work, name)
    if held is None:
        raise _no_champion(config, [name])
    return Found(reader.folder(held), held.name, held.version)


def _no_champion(config: Config, names: list[str]) -> PneumoniaError:
    uri = tracking_uri(config)
    there = ""
    if not _without_mlflow(config):
        from pneumonia.registry import models

        there = ", ".join(f"models:/{other.name}@champion" for other in models.champions(uri))
    return PneumoniaError(
        f"{redacted(uri)}: there is no champion of {' or '.join(names)} yet. "
        + (f"Existing champions: {there}; choose one with --model. " if there else "No other model has one either. ")
        + "To train one: python flows/pipeline.py --profile full --data DIR"
    )


def _of_version(uri: str, name: str, version: str, config: Config) -> Found:
    from pneumonia.registry import models, verified

    found = models.get(uri, name, version)
    if found.export_digest:
        folder = _fetched(uri, found.run_id, found.export_digest, config)
        record = read_model_record(folder)
        verified.check_registered(found, record)
        _check_export(uri, found, folder, config)
    else:
        with verified.fetched(uri, found) as (path, record):
            _check_weights(uri, found.run_id, found.uri, path, record, config)
            folder = _exported(path, record, config)
    _warn_of_withdrawal(uri, record, found.uri, found.withdrawn)
    return Found(folder, found.name, found.version)


def _of_run(uri: str, run_id: str, config: Config) -> Found:
    from pneumonia.registry import verified

    with verified.fetched_run(uri, run_id) as (path, record):
        _check_weights(uri, run_id, f"runs:/{run_id}", path, record, config)
        folder = _exported(path, record, config)
    _warn_of_withdrawal(uri, record, f"run:{run_id}")
    return Found(folder, record.name, f"run:{run_id}")


def _of_file(path: Path, config: Config) -> Found:
    if not is_regular_file(path):
        raise ConfigError(f"{path}: there is no such file; {SOURCES}")
    record = read_record(path)
    if demanded(config.signing):
        logger.warning("%s: a file carries no signature; it is used because it was named", path)
    return Found(_exported(path, record, config), record.name, f"sha256:{record.weights_digest[:12]}")


def _fetched(uri: str, run_id: str, digest: str, config: Config) -> Path:
    """Return the registered export of a version that is not champion, fetched once."""
    from pneumonia.files import atomic_folder
    from pneumonia.registry.mirroring import fetch_export

    target = Path(config.work).resolve() / EXPORTS / digest[:16]
    if not target.exists():
        with atomic_folder(target) as place:
            fetch_export(uri, run_id, place)
            read_export(place, digest)
    read_export(target, digest)
    return target


def _exported(path: Path, record: ModelRecord, config: Config) -> Path:
    """Return the float32 export of a weights file, made once: without its training data there is no int8."""
    if importlib.util.find_spec("torch") is None:
        raise PneumoniaError(
            f"{record.name}: the model has no export, and torch, which makes one, is not installed here; run "
            "`pneumonia export` where it was trained, or install pneumonia[training]"
        )
    from pneumonia.inference.exporting import export_model

    target = Path(config.work).resolve() / EXPORTS / f"{record.model_digest()[:16]}-fp32"
    export_model(path, target, None)
    return target


def _check_export(uri: str, version: Version, folder: Path, config: Config) -> None:
    """Refuse a version's export without the demanded signature, once its run was asked for one that was made since."""
    if not demanded(config.signing):
        return
    signed.fetch_beside(uri, version.run_id, folder)
    try:
        signed.check_export(
            folder,
            config.signing,
            name=version.name,
            run_id=version.run_id,
            model_digest=version.model_digest,
            manifest_digest=version.manifest_digest,
        )
    except SignatureRefused as error:
        raise signed.refused(version.uri, error) from None


def _check_weights(uri: str, run_id: str, what: str, path: Path, record: ModelRecord, config: Config) -> None:
    """Refuse a run's weights without the demanded signature."""
    try:
        signed.check_weights(uri, run_id, path, config.signing, name=record.name, model_digest=record.model_digest())
    except SignatureRefused as error:
        raise signed.refused(what, error) from None


def _warn_of_withdrawal(uri: str, record: ModelRecord, source: str, tag: str = "") -> None:
    """Warn of a model that a rollback has withdrawn, under this or another version number."""

    if words := withdrawals.withdrawal(uri, record) or (tag and f"withdrawn {tag}"):
        logger.warning("%s is a model that was withdrawn, and is not to be used: %s", source, words)


def _file(source: str) -> Path:
    try:
        return Path(expand_home(source))
    except ValueError as error:
        raise ConfigError(f"{source}: {error}; {SOURCES}") from None


def _source_run(uri: str, model_id: str) -> str:
    from pneumonia.tracking.client import mlflow_client, translated_errors

    with translated_errors(uri, f"find the model {model_id}"):
        run_id = mlflow_client(uri).get_logged_model(model_id).source_run_id
    if not run_id:
        raise PneumoniaError(f"models:/{model_id}: belongs to no run; {SOURCES}")
    return str(run_id)
