"""The champion as a consumer without MLflow reads it: from a real server, and from the mirror while that is away."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pneumonia.config.schema import Config, TrackingConfig
from pneumonia.config.service import ServingConfig
from pneumonia.errors import DataError, TrackingError
from pneumonia.records.evaluation import Metric, OutsideMetrics
from pneumonia.records.export import EXPORT_FOLDER, EXPORT_RECORD, FILES, REFERENCE
from pneumonia.registry import models, moves, outside
from pneumonia.registry.mirror import Champion, Mirror
from pneumonia.registry.mirroring import update_mirror
from pneumonia.registry.reader import Reader, names_to_serve, open_reader
from pneumonia.registry.rest import RestClient
from pneumonia.tracking.client import mlflow_client
from tests.conftest import once
from tests.support import exports
from tests.support.answers import Answer
from tests.support.mlflow_server import Server, Wire, free_port
from tests.support.registered import exported, promote, promoted, registered
from tests.support.runs import settings

METRIC = {"value": 0.96, "low": 0.94, "high": 0.98}
VERDICT = {"metrics": {"auroc": METRIC}, "measured_on": "the test folder"}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two exported models; not to be changed."""

    def make(folder: Path) -> None:
        for seed in range(2):
            exports.export(folder / str(seed), seed=seed, images=32)

    place = once(tmp_path_factory, "exports of the registry's tests", make)
    return [place / "0", place / "1"]


@pytest.fixture
def name() -> str:
    """A name of the test's own on the session's server."""
    return f"reader-{uuid.uuid4().hex}-phantom"


@pytest.fixture
def two(mlflow_server: str, folders: list[Path], name: str, tmp_path: Path) -> str:
    """A registered name with two exported versions, promoted one after the other."""
    for number, folder in enumerate(folders, 1):
        version = exported(settings(tmp_path, mlflow_server), folder, name=name)
        mlflow_client(mlflow_server).log_dict(version.run_id, VERDICT, "report/verdict.json")
        promote(mlflow_server, str(number), name)
    return name


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    relay = Wire(server.port)
    relay.mend()
    yield relay
    relay.cut()


def reader_of(uri: str, work: Path, *names: str) -> Reader:
    return Reader(uri, work, list(names))


def held(reader: Reader) -> Champion:
    found = reader.champion()
    assert found is not None
    return found


def stored(server: Server, champion: Champion, name: str) -> Path:
    """The place of one of a version's exported files in the server's store."""
    return next((server.folder / "artifacts").glob(f"**/{champion.run_id}/artifacts/{EXPORT_FOLDER}/{name}"))


# --- who is champion


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("auto", ["pneumonia-resnet18", "pneumonia-resnet18-fast", "pneumonia-resnet18-phantom"]),
        ("mine", ["mine"]),
        ("models:/mine@champion", ["mine"]),
    ],
)
def test_the_real_model_is_preferred_unless_one_is_named(model: str, names: list[str]) -> None:
    assert names_to_serve(Config(serving=ServingConfig(model=model))) == names


def test_it_reads_what_mlflows_own_client_reads(mlflow_server: str, two: str, tmp_path: Path) -> None:
    seen = OutsideMetrics(
        name="elsewhere",
        when="2026-01-01T00:00:00+00:00",
        rows="r",
        counts={"NORMAL": 3, "PNEUMONIA": 4},
        patients=7,
        threshold=0.5,
        metrics={"auroc": Metric.model_validate(METRIC)},
    )
    outside.register(mlflow_server, models.get(mlflow_server, two, "2"), seen)
    found = held(reader_of(mlflow_server, tmp_path, two))
    assert found == update_mirror(mlflow_server, tmp_path, two)
    assert (found.name, found.version, found.previous, found.phantom) == (two, "2", "1", True)
    assert (found.measured_on, found.metrics["auroc"].low, found.outside) == ("the test folder", 0.94, (seen,))
    assert found.move is not None
    assert (found.move.who, found.move.from_version) == ("ada", "1")


def test_a_model_that_was_never_judged_has_no_metrics(
    mlflow_server: str, name: str, folders: list[Path], tmp_path: Path
) -> None:
    exported(settings(tmp_path, mlflow_server), folders[0], name=name)
    promote(mlflow_server, "1", name)
    found = held(reader_of(mlflow_server, tmp_path, name))
    assert (found.metrics, found.measured_on, found.outside, found.previous) == ({}, "", (), None)


def test_the_first_name_with_a_champion_is_taken(mlflow_server: str, name: str, tmp_path: Path) -> None:
    names = [f"{name[:-8]}-{rank}" for rank in range(3)]
    reader = reader_of(mlflow_server, tmp_path, *names)
    assert reader.champion() is None, "no such name"
    registered(mlflow_server, names[0])
    assert reader.champion() is None, "no champion"
    for rank in (2, 1, 0):
        if rank:
            registered(mlflow_server, names[rank])
        promote(mlflow_server, "1", names[rank])
        assert held(reader).name == names[rank]


def test_a_rollback_that_was_cut_short_is_heeded(
    mlflow_server: str, two: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alias is still the withdrawn version's: by the ledger it is nobody's any more."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    reader = reader_of(mlflow_server, tmp_path, two)
    with monkeypatch.context() as patch:
        patch.setattr(moves, "_apply", killed)
        with pytest.raises(KeyboardInterrupt):
            moves.rollback(mlflow_server, two, "eve", "false alarms", leaving="2")
    assert RestClient(mlflow_server).get_registered_model(two).aliases["champion"] == "2"
    found = held(reader)
    assert (found.version, found.previous) == ("1", None)
    assert found.move is not None
    assert (found.move.action, found.move.why) == ("rollback", "false alarms")
    update_mirror(mlflow_server, tmp_path, two)
    assert reader.mirrored() == found


def test_versions_beyond_a_page_are_read(
    mlflow_server: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(mlflow_server, 5, name)
    asked: list[dict[str, Any]] = []
    whole = RestClient._get

    def paged(self: RestClient, path: str, arguments: dict[str, str]) -> Any:
        if path == "model-versions/search":
            asked.append(arguments)
            arguments = {**arguments, "max_results": "2"}
        return whole(self, path, arguments)

    monkeypatch.setattr(RestClient, "_get", paged)
    assert [each.version for each in models.versions_of(RestClient(mlflow_server), name)] == list("12345")  # type: ignore[arg-type]
    assert len(asked) == 3
    assert held(reader_of(mlflow_server, tmp_path, name)).version == "5"


# --- its files


def test_the_files_are_fetched_once_and_then_answer_without_the_server(two: str, wire: Wire, tmp_path: Path) -> None:
    reader = reader_of(wire.url, tmp_path, two)
    assert reader.mirrored() is None
    champion = held(reader)
    folder = reader.folder(champion)
    assert {path.name for path in folder.iterdir()} == {EXPORT_RECORD, *FILES}
    wire.cut()
    with pytest.raises(TrackingError, match=rf"{wire.url}: could not look up the champion of {two}: .*refused") as away:
        reader.champion()
    assert not away.value.permanent
    again = reader_of(wire.url, tmp_path, two)
    assert again.mirrored() == champion
    assert again.folder(champion) == folder


def test_files_that_are_not_there_yet_need_the_server(two: str, wire: Wire, tmp_path: Path) -> None:
    reader = reader_of(wire.url, tmp_path, two)
    champion = held(reader)
    wire.loses_answers = True
    with pytest.raises(TrackingError, match=f"could not fetch models:/{two}/2: ") as away:
        reader.folder(champion)
    assert not away.value.permanent
    assert reader.mirrored() is None
    assert not [path for path in Mirror(tmp_path, two).place.rglob("*") if path.is_file()]


def test_a_new_champion_replaces_the_old_one_whose_files_stay(mlflow_server: str, two: str, tmp_path: Path) -> None:
    reader = reader_of(mlflow_server, tmp_path, two)
    newer = held(reader)
    first = reader.folder(newer)
    moves.rollback(mlflow_server, two, "eve", "false alarms", leaving="2")
    older = held(reader)
    second = reader.folder(older)
    assert reader.mirrored() == older
    assert (newer.version, older.version) == ("2", "1")
    assert first.is_dir()
    assert first != second


def test_what_was_damaged_on_this_disk_is_fetched_again(mlflow_server: str, two: str, tmp_path: Path) -> None:
    reader = reader_of(mlflow_server, tmp_path, two)
    champion = held(reader)
    file = reader.folder(champion) / "model.fp32.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    reader.folder(champion)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("file", ["model.int8.onnx", REFERENCE, "record.json", EXPORT_RECORD])
def test_a_file_that_was_changed_in_the_store_is_refused(server: Server, two: str, tmp_path: Path, file: str) -> None:
    """Before and after: what the mirror held goes on, and the right file is taken once it is back."""
    reader = reader_of(server.url, tmp_path, two)
    champion = held(reader)
    place = stored(server, champion, file)
    whole = place.read_bytes()
    place.write_bytes(whole.replace(b"fp32", b"fp23") if file == EXPORT_RECORD else whole[:-1] + b" ")
    try:
        with pytest.raises(DataError, match=r"fetch or export it again|another export than was registered"):
            reader.folder(champion)
        assert reader.mirrored() is None
        assert not [path for path in Mirror(tmp_path, two).place.rglob("*") if path.is_file()]
    finally:
        place.write_bytes(whole)
    assert reader.folder(champion).is_dir()


def test_a_whole_export_of_another_model_is_refused(
    server: Server, two: str, folders: list[Path], tmp_path: Path
) -> None:
    reader = reader_of(server.url, tmp_path, two)
    champion = held(reader)
    place = stored(server, champion, EXPORT_RECORD).parent
    shutil.copytree(folders[0], place, dirs_exist_ok=True)
    with pytest.raises(DataError, match=r"another export than was registered \("):
        reader.folder(champion)


def test_a_file_that_is_gone_from_the_store_is_named(server: Server, two: str, tmp_path: Path) -> None:
    reader = reader_of(server.url, tmp_path, two)
    champion = held(reader)
    stored(server, champion, REFERENCE).unlink()
    with pytest.raises(TrackingError, match=rf"could not fetch models:/{two}/2: .*{REFERENCE}"):
        reader.folder(champion)
    assert reader.mirrored() is None


def test_a_version_without_an_export_says_how_to_make_one(mlflow_server: str, name: str, tmp_path: Path) -> None:
    promoted(mlflow_server, 1, name)
    reader = reader_of(mlflow_server, tmp_path, name)
    with pytest.raises(DataError, match=f"has no exported model; .*pneumonia export --model models:/{name}/1"):
        reader.folder(held(reader))


# --- without a server, and with one that is none


def test_without_a_server_the_mirror_is_the_registry(
    uri: str, work: Path, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "reader-phantom"
    exported(settings(work), folders[0], name=name)
    promote(uri, "1", name)
    reader = open_reader(Config(work=str(work), serving=ServingConfig(model=name)))
    assert reader.champion() is None, "a move outside the commands and steps writes no mirror"
    written = update_mirror(uri, work, name)
    assert reader.champion() == reader.mirrored() == written
    assert written is not None
    (reader.folder(written) / "record.json").unlink()
    with pytest.raises(DataError, match=f"write them again: pneumonia export --model models:/{name}/1"):
        reader.folder(written)


def test_a_damaged_document_of_the_mirror_is_named(tmp_path: Path) -> None:
    place = tmp_path / "champions/mine"
    place.mkdir(parents=True)
    (place / "champion.json").write_text('{"name": "mine"')
    with pytest.raises(DataError, match=r"champions/mine/champion\.json: is damaged; remove it"):
        reader_of(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, "mine").champion()


def test_a_server_that_is_not_there_is_away(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    reader = open_reader(Config(work=str(tmp_path), tracking=TrackingConfig(uri=uri)))
    with pytest.raises(TrackingError, match=f"{uri}: could not look up the champion of .*: Conn") as away:
        reader.champion()
    assert not away.value.permanent
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "body", "words", "permanent"),
    [
        (401, "who are you?", "the tracking server refuses the login", True),
        (200, "hello", "something answers there, but it is not an MLflow server", True),
        (200, '{"experiments": []}', "the answer is not MLflow's", False),
        (200, "[]", "the answer is not MLflow's", False),
        (503, "busy", "HTTP 503", False),
    ],
)
def test_what_is_no_registry_is_named(tmp_path: Path, status: int, body: str, words: str, permanent: bool) -> None:
    with Answer(status, body) as server, pytest.raises(TrackingError, match=words) as refused:
        reader_of(server.url, tmp_path, "mine").champion()
    assert refused.value.permanent is permanent


def test_the_login_of_the_environment_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    # past the login it answers with the same document everywhere, which is no registered model
    with Answer(401, "") as server, pytest.raises(TrackingError, match="the answer is not MLflow's"):
        reader_of(server.url, tmp_path, "mine").champion()


def test_a_name_of_ones_own_comes_first() -> None:
    config = Config.model_validate({"registry": {"name": "mine"}})
    assert names_to_serve(config)[:2] == ["mine", "pneumonia-resnet18"]
    assert names_to_serve(Config())[0] == "pneumonia-resnet18"
