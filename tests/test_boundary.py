"""What ends a program: one message, and the traceback of a surprise in a file; what is worth another try."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pneumonia import boundary
from pneumonia.errors import ConfigError, DataError, TrackingError, TrainingInterrupted, worth_retrying


@pytest.fixture(autouse=True)
def _no_work_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "_work", None)


def surprise(text: str = "images/a.jpeg") -> Exception:
    try:
        {}[text]
    except KeyError as error:
        return error
    raise AssertionError


def test_what_is_described_is_told_as_it_is() -> None:
    assert boundary.explain(DataError("x.jpeg: truncated")) == ("error: x.jpeg: truncated", 1)
    assert boundary.explain(ConfigError("train.epochs: 0")) == ("error: train.epochs: 0", 2)


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("torch", "training"),
        ("sklearn.metrics", "training"),
        ("uvicorn", "serving"),
        ("prefect", "flow"),
        ("dvc.repo", "versioning"),
    ],
)
def test_what_was_not_installed_is_told_with_the_extra_that_brings_it(module: str, extra: str) -> None:
    message, code = boundary.explain(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert message.startswith(f"error: {module} is not installed here; ")
    assert message.endswith(f": pip install 'pneumonia[{extra}]'")
    assert code == 1
    for other in ("numpy", "no_such_module"):  # no extra brings it: a surprise
        assert boundary.explain(ModuleNotFoundError("No module", name=other))[1] == boundary.UNEXPECTED


def test_a_surprise_is_one_message_and_its_traceback_lies_in_the_work_folder(tmp_path: Path) -> None:
    boundary.keep_tracebacks_in(tmp_path)
    message, code = boundary.explain(surprise())
    (log,) = (tmp_path / "logs").iterdir()
    assert code == boundary.UNEXPECTED == 70
    assert message.startswith("error: KeyError: 'images/a.jpeg'. The traceback is in ")
    assert str(log) in message
    assert "run the same command again" in message
    assert "\n" not in message
    assert "in surprise" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("named", [True, False])
def test_without_a_work_folder_it_is_a_temporary_file(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if named:
        boundary.keep_tracebacks_in(tmp_path / "not begun")
    message, _ = boundary.explain(surprise())
    (log,) = tmp_path.iterdir()
    assert str(log) in message
    assert "KeyError" in log.read_text()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free space there"),
        (errno.EDQUOT, "have the quota raised"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EROFS, "choose a place that can be written"),
        (errno.EACCES, "make it accessible to this user"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOMEM, "more memory"),
    ],
)
@pytest.mark.parametrize("place", ["pixels/images.npy", None])
def test_what_the_operating_system_refuses_has_its_remedy(
    number: int, remedy: str, place: str | None, tmp_path: Path
) -> None:
    boundary.keep_tracebacks_in(tmp_path)
    words = os.strerror(number)
    message, code = boundary.explain(OSError(number, words, place))
    (log,) = (tmp_path / "logs").iterdir()
    assert code == 1
    assert message.startswith(f"error: {place + ': ' if place else ''}{words}; ")
    assert remedy in message
    assert str(log) in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has a device that is always full")
def test_on_a_full_disk_the_traceback_goes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundary, "_logs", lambda: (os.open("/dev/full", os.O_WRONLY), "/dev/full"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    message, _ = boundary.explain(surprise())
    (log,) = tmp_path.iterdir()
    assert f"The traceback is in {log}" in message


def test_a_traceback_is_not_lost_where_no_file_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(boundary, "_temporary", full)
    assert "in surprise" in boundary.explain(surprise())[0]


def test_no_password_in_message_or_file(tmp_path: Path) -> None:
    boundary.keep_tracebacks_in(tmp_path)
    message, _ = boundary.explain(surprise("cannot open postgresql://me:s3cret@db/mlflow"))
    (log,) = (tmp_path / "logs").iterdir()
    assert "s3cret" not in message + log.read_text()
    assert "postgresql://***@db/mlflow" in message


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TrackingError("no answer"), True),
        (TrackingError("login refused", permanent=True), False),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "weights.safetensors"), False),
        (PermissionError(errno.EACCES, "Permission denied", "weights.safetensors"), False),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "images"), False),
        (OSError("without a number"), False),
        (TrainingInterrupted("stopped"), False),
        (DataError("truncated"), False),
        (ConfigError("unknown key"), False),
        (ValueError("a mistake"), False),
        (KeyboardInterrupt(), False),
    ],
    ids=repr,
)
def test_what_is_worth_another_try(error: BaseException, again: bool) -> None:
    assert worth_retrying(error) is again
