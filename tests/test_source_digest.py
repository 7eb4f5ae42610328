"""A result's name changes with the code that makes it, and with no other."""

from __future__ import annotations

import ast
import gc
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pneumonia.source_digest import PACKAGE, imported_modules, source_digest

TRAINING = ("pneumonia.modelling.training_loop", "pneumonia.modelling.architectures.tiny")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, to be edited."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "pneumonia", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def changed(package: Path) -> Callable[[str, str, str], bool]:
    """Edit a module; whether the digest of the training's code has changed."""
    before = source_digest(*TRAINING, package=package)

    def edit(name: str, old: str, new: str) -> bool:
        path = package / name
        text = path.read_text()
        assert old in text, f"{name} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1))
        source_digest.cache_clear()
        return source_digest(*TRAINING, package=package) != before

    return edit


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("modelling/augment.py", "def augment(", "CHANGED = 1\n\n\ndef augment("),
        ("modelling/schedule.py", "1.5 *", "1.6 *"),
        ("modelling/training_loop.py", "1_000_003", "1_000_033"),
        ("modelling/architectures/tiny.py", "def build(", "CHANGED = 1\n\n\ndef build("),
        ("data/images.py", "return len(self.rows)", "return len(self.rows) + 0"),
    ],
)
def test_code_that_trains_counts(changed: Callable[[str, str, str], bool], name: str, old: str, new: str) -> None:
    assert changed(name, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("modelling/augment.py", '"""', '"""Other words. '),
        ("modelling/training_loop.py", "# batch norm cannot", "# what batch norm cannot"),
        (
            "modelling/fitted.py",
            '    """A finished training',
            '    """A completed training',
        ),
        ("modelling/checkpoint.py", "\n\n\n", "\n\n\n\n\n"),
        ("reporting/report.py", "def markdown(", "CHANGED = 1\n\n\ndef markdown("),
        ("modelling/calibration.py", "SEED = 7_919", "SEED = 7_920"),
        ("modelling/architectures/resnet18.py", "def build(", "CHANGED = 1\n\n\ndef build("),
        ("statistics/bootstrap.py", "250_000", "250_001"),
        ("tracking/inputs.py", "BATCH = 100", "BATCH = 99"),
        ("config/schema.py", "Peak learning rate", "Highest learning rate"),
    ],
)
def test_words_and_other_code_do_not(changed: Callable[[str, str, str], bool], name: str, old: str, new: str) -> None:
    assert not changed(name, old, new)


def test_a_string_that_is_a_value_counts(changed: Callable[[str, str, str], bool]) -> None:
    assert changed("modelling/training_loop.py", '"checkpoint.safetensors"', '"state.safetensors"')


def test_a_new_module_is_found_without_being_listed(package: Path, changed: Callable[[str, str, str], bool]) -> None:
    (package / "modelling" / "fresh.py").write_text("SHARE = 1\n")
    importing = "from pneumonia.modelling import fresh\n"
    changed("modelling/augment.py", "import torch\n", f"import torch\n{importing}")
    assert "pneumonia.modelling.fresh" in imported_modules(*TRAINING, package=package)
    before = source_digest(*TRAINING, package=package)
    (package / "modelling" / "fresh.py").write_text("SHARE = 2\n")
    source_digest.cache_clear()
    assert source_digest(*TRAINING, package=package) != before


def test_the_decoder_is_code_that_makes_pixels() -> None:
    found = imported_modules("pneumonia.imaging.radiograph", "pneumonia.imaging.image_statistics")
    there = {f"pneumonia.imaging.{path.stem}" for path in (PACKAGE / "imaging").glob("[a-z]*.py")}
    # the layout is measured of pixels that are made already, when a picture is checked; the others are of kept files
    others = {"layout", *(path.stem for path in (PACKAGE / "imaging").glob("bare*.py")), "dicom_words", "dicom_header"}
    assert found - {"pneumonia.imaging"} == there - {f"pneumonia.imaging.{name}" for name in others}


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"has no module pneumonia\.modelling\.none"):
        source_digest("pneumonia.modelling.none")


class _ParsesWhenCollected:
    def __init__(self) -> None:
        self.cycle = self

    def __del__(self) -> None:
        ast.parse("a = [1, [2, (3, f(4))]]")


def test_garbage_that_parses_does_not_disturb(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = source_digest(*TRAINING, package=package)
    source_digest.cache_clear()
    read = Path.read_bytes

    def littered(path: Path) -> bytes:
        content = read(path)
        for _ in range(40):  # to be collected in the midst of what comes next
            _ParsesWhenCollected()
        return content

    monkeypatch.setattr(Path, "read_bytes", littered)
    threshold = gc.get_threshold()
    gc.set_threshold(100)
    try:
        assert source_digest(*TRAINING, package=package) == wanted
        assert gc.isenabled()
    finally:
        gc.set_threshold(*threshold)
