"""The report: what it must say, that its recipe and its command resolve again, and that its pictures are pictures."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from pneumonia.config.policy import load_policy
from pneumonia.config.resolve import resolve
from pneumonia.config.schema import CLASSES, Config, EvaluationConfig
from pneumonia.errors import PneumoniaError
from pneumonia.evaluation import gate
from pneumonia.records.evaluation import Champion, Curves, Metric, ModelComparison, Verdict
from pneumonia.reporting.plots import NOT_A_DEVICE, PANELS, plots
from pneumonia.reporting.report import DataUsed, ModelUsed, command, markdown, recipe
from pneumonia.reporting.tables import METRIC_NAMES
from pneumonia.statistics.comparison import compare_models
from pneumonia.statistics.metrics import METRICS, Scored, compute_curves, compute_metrics

PICTURES = ["learning_curves.png", "roc.png", "precision_recall.png", "confusion.png", "reliability.png"]


class Line(NamedTuple):
    """One epoch, in the fields that the report reads."""

    epoch: int
    train_loss: float = 0.4
    train_accuracy: float = 0.81
    val_loss: float = 0.5
    val_accuracy: float = 0.82
    precision: float = 0.83
    recall: float = 0.84
    f1: float = 0.85
    auroc: float = 0.86
    seconds: float = 12.0


HISTORY = [Line(1), Line(2, val_loss=0.3), Line(3, val_loss=0.35)]


class Evaluated(NamedTuple):
    curves: Curves
    metrics: dict[str, Metric]
    verdict: Verdict


@pytest.fixture(scope="module")
def scored() -> Evaluated:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    one, other = (1 / (1 + np.exp(-3 * (labels - 0.5) - rng.normal(size=120))) for _ in range(2))
    patients = [str(i // 2) for i in range(120)]
    config = EvaluationConfig(bootstrap=100)
    found = compute_metrics(Scored(labels, one, patients, 0.4), config)
    policy = load_policy()
    ours, theirs = Scored(labels, one, patients, 0.4), Scored(labels, other, patients, 0.4)
    comparison = ModelComparison(
        opponent="champion",
        version="7",
        view="without shortcuts",
        metrics=compare_models(ours, theirs, policy.protocol.margins, config),
        images=120,
        of=120,
    )
    views = {"as they are": found, "without shortcuts": found}
    reasons = [gate.comparison_reason(comparison, policy), *gate.release_reasons(found, policy)]
    verdict = gate.verdict(reasons, found, Champion(version="7"), policy, [comparison], views)
    return Evaluated(compute_curves(Scored(labels, one, None, 0.4)), found, verdict)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, scored: Evaluated) -> list[Path]:
    return plots(tmp_path_factory.mktemp("report") / "new", HISTORY, scored.curves, scored.metrics, best_epoch=2)


def page(verdict: Verdict, config: Config | None = None, **changes: Any) -> str:
    data: dict[str, Any] = {
        "phantom": False,
        "root": "data/chest_xray",
        "digest": "d" * 64,
        "split_digest": "s" * 64,
        "dvc_md5": "3fed.dir",
        "counts": {"train": {"NORMAL": 10, "PNEUMONIA": 20}, "test": {"NORMAL": 234, "PNEUMONIA": 390}},
        "patients": {"train": 25, "test": 500},
    }
    model = ModelUsed(
        name="pneumonia-resnet18", weights_digest="w" * 64, threshold=0.4, best_epoch=2, git_commit="c0ffee"
    )
    return markdown(
        DataUsed.model_validate(data | changes),
        model,
        config or resolve("full", assignments=["data.root=data/chest_xray"], environment={}),
        HISTORY,
        verdict,
        [Path("/elsewhere") / name for name in PICTURES],
    )


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[2:-2].split(" | ")] for line in text.splitlines() if line.startswith("| ")]


def test_the_page_says_where_everything_came_from(scored: Evaluated) -> None:
    table = rows(page(scored.verdict))
    for row in (
        ["Kind", "radiographs"],
        ["Folder", "`data/chest_xray`"],
        ["Manifest digest", f"`{'d' * 64}`"],
        ["Split digest", f"`{'s' * 64}`"],
        ["DVC md5", "`3fed.dir`"],
        ["train", "10", "20", "30", "25"],
        ["test", "234", "390", "624", "500"],
        ["Weights digest", f"`{'w' * 64}`"],
        ["Git commit", "`c0ffee`"],
        ["MLflow run", "none"],
    ):
        assert row in table


def test_the_page_shows_every_metric_with_its_interval(scored: Evaluated) -> None:
    text = page(scored.verdict, openings=3)
    table = rows(text)
    for name in METRICS:
        metric = scored.metrics[name]
        assert [METRIC_NAMES[name], f"{metric.value:.3f}", f"{metric.low:.3f} to {metric.high:.3f}"] in table
    ece = scored.metrics["ece_balanced"]
    assert [METRIC_NAMES["ece_balanced"], *[f"{ece.value:.3f} ({ece.low:.3f} to {ece.high:.3f})"] * 2] in table
    (comparison,) = scored.verdict.comparisons
    auroc = comparison.metrics[0]
    shown = f"{auroc.difference.value:+.3f} ({auroc.difference.low:+.3f} to {auroc.difference.high:+.3f})"
    line = ["champion, version 7", "without shortcuts", "AUROC", shown, "-0.02", f"{auroc.p:.3f}", auroc.outcome]
    assert line in table
    assert "On the release set, the official test folder, 624 images (234 NORMAL, 390 PNEUMONIA), at thresh" in text
    assert "95%, percentile bootstrap of 2000 resamples grouped by patient" in text
    assert "The release set has been opened 3 times so far" in text
    assert "62% of these images are PNEUMONIA, which is not the prevalence of a clinic; the stated one is 10%" in text
    assert "calibrated for classes that are equally likely" in text


def test_the_page_says_what_the_intervals_are_drawn_by(scored: Evaluated) -> None:
    known, partly, unknown = (page(scored.verdict, unknown_patients=n) for n in (0, 24, 624))
    assert "grouped by patient. " in known
    assert "by image" not in known
    assert "grouped by patient where the patient is known; by image for 24 of the 624 images" in partly
    assert "resamples by image, because the patients are not known" in unknown
    assert "grouped by patient" not in unknown
    row = next(row for row in rows(page(scored.verdict, unknown_patients=624, patients={})) if row[0] == "test")
    assert row == ["test", "234", "390", "624", "unknown"]


def test_the_page_names_equal_images_and_keeps_their_count(scored: Evaluated) -> None:
    groups = [[f"test/NORMAL/{at}-{copy}.jpeg" for copy in "ab"] for at in range(102)]
    text = page(scored.verdict, duplicates=groups, copies=6)
    assert "102 groups of images (204 images) with equal pixels" in text
    table = rows(text)
    assert ["1", "`test/NORMAL/0-a.jpeg`, `test/NORMAL/0-b.jpeg`"] in table
    assert ["100", "`test/NORMAL/99-a.jpeg`, `test/NORMAL/99-b.jpeg`"] in table
    assert ["…", "and 2 more, in the manifest"] in table
    assert "6 of the images repeat another one; they count in the values" in text
    assert "624 images (234 NORMAL, 390 PNEUMONIA)" in text
    assert "equal pixels" not in page(scored.verdict)


def test_the_page_gives_the_verdict_with_each_reason(scored: Evaluated) -> None:
    text = page(scored.verdict)
    assert ("**Passed**" if scored.verdict.passed else "**Not passed**") in text
    for reason in scored.verdict.reasons:
        assert [reason.name, "met" if reason.passed else "not met", reason.text] in rows(text)
    assert "**Passed**" in page(scored.verdict.model_copy(update={"passed": True}))
    assert "**Not passed**" in page(scored.verdict.model_copy(update={"passed": False}))


def test_the_page_says_that_a_demo_has_no_plan_and_that_a_refused_model_opened_nothing(scored: Evaluated) -> None:
    demo = page(gate.verdict(gate.demo_reasons(scored.metrics, Config().gate), scored.metrics), openings=1)
    assert "A demo: judged by the minimums of its profile alone" in demo
    assert "Change control plan" not in demo
    refused = scored.verdict.model_copy(update={"measured_on": "gate set"})
    text = page(refused, counts={"gate": {"NORMAL": 30, "PNEUMONIA": 10}, "test": {"NORMAL": 1, "PNEUMONIA": 1}})
    assert "On the gate set, 40 images (30 NORMAL, 10 PNEUMONIA), which refused the model, so that the release" in text
    assert "25% of these images" in text
    assert "has been opened" not in text
    assert scored.verdict.policy is not None
    assert f"Change control plan `{scored.verdict.policy[:12]}`" in text


def test_the_page_marks_the_epoch_that_was_kept(scored: Evaluated) -> None:
    table = rows(page(scored.verdict))
    values = ["0.4000", "0.8100", "0.3000", "0.8200", "0.8300", "0.8400", "0.8500", "0.8600", "12"]
    assert [f"**{cell}**" for cell in ["2", *values]] in table
    assert ["3", "0.4000", "0.8100", "0.3500", *values[3:]] in table


def test_the_page_links_its_pictures_as_neighbours(scored: Evaluated) -> None:
    assert re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page(scored.verdict)) == PICTURES


@pytest.mark.parametrize("phantom", [False, True])
def test_the_page_says_what_it_is_not(scored: Evaluated, phantom: bool) -> None:
    text = page(scored.verdict, phantom=phantom)
    assert NOT_A_DEVICE in text
    assert ("phantoms" in text.replace("[phantom]", "")) is phantom


def test_a_path_cannot_break_a_table(scored: Evaluated) -> None:
    text = page(scored.verdict, root="a|b\nc")
    assert "| Folder | `a\\|b c` |" in text


CHANGES = [
    [],
    ["train.epochs=3", "train.class_weights=false", "train.learning_rate=1e-05", "model.weights=my weights.pt"],
    ["augment.flip=0", "data.root=some where/it's", "registry.name=mine", "gate.min_auroc=0.5"],
    ["evaluation.bootstrap=150", "operating_point.threshold=0.4"],
    ["data.root=phantom", "phantom.train=64", "preprocess.equalize=true"],
]


@pytest.mark.parametrize("assignments", CHANGES)
@pytest.mark.parametrize("profile", ["fast", "full"])
def test_the_recipe_and_the_command_resolve_to_the_same_configuration(
    profile: str, assignments: list[str], tmp_path: Path
) -> None:
    config = resolve(profile, assignments=assignments, environment={})
    file = tmp_path / "recipe.toml"
    file.write_text(recipe(config), encoding="utf-8")
    assert resolve(profile, file=file, environment={}) == config
    given = options(command(config))
    again = [*given["--set"], f"data.root={given['--data'][0]}", *(f"model.weights={w}" for w in given["--weights"])]
    assert resolve(given["--profile"][0], assignments=again, environment={}) == config
    assert len(given["--set"]) <= len(assignments)  # what the profile says already is not said again


def options(line: str) -> Mapping[str, list[str]]:
    words = shlex.split(line)
    assert words[:2] == ["python", "flows/pipeline.py"]
    found: dict[str, list[str]] = {name: [] for name in ("--profile", "--data", "--weights", "--set")}
    for name, value in zip(words[2::2], words[3::2], strict=True):
        found[name].append(value)
    return found


def test_a_password_in_the_tracking_uri_stays_out(scored: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKING", "https://me:secret@server")
    config = resolve("full", assignments=["tracking.uri=env:TRACKING"], environment={})
    assert "secret" not in page(scored.verdict, config)


def test_the_pictures_are_pictures_that_fit_a_page(drawn: list[Path]) -> None:
    assert [path.name for path in drawn] == PICTURES
    assert sorted(path.name for path in drawn[0].parent.iterdir()) == sorted(PICTURES)  # nothing half-written is left
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert 600 <= picture.width <= 1800
            assert 500 <= picture.height <= 1000
            grey = np.asarray(picture.convert("L"), dtype=float)
        border = np.concatenate([grey[:6].ravel(), grey[-6:].ravel(), grey[:, :6].ravel(), grey[:, -6:].ravel()])
        assert border.min() == 255, f"{path.name}: something is cut off at the edge"
        assert grey.std() > 10


def test_the_same_input_draws_the_same_bytes_and_the_note_tells_phantoms_apart(
    drawn: list[Path], scored: Evaluated, tmp_path: Path
) -> None:
    again = plots(tmp_path, HISTORY, scored.curves, scored.metrics, best_epoch=2)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in drawn]
    phantom = plots(tmp_path, HISTORY, scored.curves, scored.metrics, best_epoch=2, phantom=True)
    assert all(one.read_bytes() != other.read_bytes() for one, other in zip(phantom, drawn, strict=True))


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),  # perfect
        ([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1]),  # the wrong way round
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]),  # no opinion
        ([0, 1, 1, 1], [0.0, 0.1, 0.2, 0.3]),  # nothing is classified as PNEUMONIA
        ([0, 1], [0.0, 1.0]),
    ],
)
def test_extreme_models_can_be_drawn(labels: list[int], probabilities: list[float], tmp_path: Path) -> None:
    found = plots(tmp_path, HISTORY[:1], compute_curves(Scored(labels, probabilities)), {})
    assert [path.name for path in found] == PICTURES


def test_without_a_history_there_are_no_learning_curves(scored: Evaluated, tmp_path: Path) -> None:
    assert [path.name for path in plots(tmp_path, [], scored.curves, {})] == PICTURES[1:]


def test_a_folder_that_cannot_be_written_is_named(scored: Evaluated, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(PneumoniaError, match=r"report/roc.png: cannot be written \(.+\); free space"):
        plots(tmp_path / "report", [], scored.curves, {})


def test_lines_of_one_panel_differ_by_more_than_their_colour() -> None:
    for _, series in PANELS:
        assert len({marker for *_, marker in series}) == len(series)


def test_the_words_cover_every_metric() -> None:
    assert list(METRIC_NAMES) == list(METRICS)
    assert CLASSES == ("NORMAL", "PNEUMONIA")  # the order of the confusion's rows and columns


@pytest.mark.integration
def test_reporting_loads_neither_torch_nor_mlflow_nor_pyplot() -> None:
    code = (
        "import sys, pneumonia.reporting.report, pneumonia.statistics.metrics, pneumonia.evaluation.gate\n"
        "print([name for name in ('torch', 'mlflow', 'sklearn', 'matplotlib.pyplot') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
