"""Every command of the README, typed as it stands there, on few and small phantoms."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from pneumonia.config.resolve import resolve
from pneumonia.config.schema import Config
from tests.support.small import OPEN_GATE, SMALL

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
# What cannot be typed inside the suite, and where it is tested instead.
ELSEWHERE = {
    "dvc remote add": "needs an address of the reader's; .ci/run does it where real data are",
    "dvc remote modify": "likewise",
    "dvc pull": "likewise",
    "data verify": "tests/cli/test_doctor_dvc.py; the data are pulled by the command before",
    "pneumonia reproduce": "tests/tasks/test_reproduce.py; it needs the history of the checkout",
    "train.shards": "tests/modelling/test_workers.py, tests/flows/test_torchrun.py",
    "pneumonia score s3://": "tests/inference/test_archive_stores.py, tests/test_cluster.py; it needs a cluster",
    "cross_validation.py": "tests/flows/test_cross_validation.py",
    "data fetch": "tests/data/download/test_published.py fetches from its own server",
}


def commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [re.sub(r"\s+#.*", "", line).strip() for line in lines]


def test_there_are_commands() -> None:
    assert {"make run", "make ui", "make test", "make lint"} <= set(commands())


@pytest.mark.integration
@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("make ")])
def test_make_targets_exist(line: str) -> None:
    done = subprocess.run(["make", "-n", *line.split()[1:2]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.integration
def test_commands_in_order(work: Path) -> None:
    for name in (".venv", "flows"):
        (work / name).symlink_to(ROOT / name)
    (work / ".pneumonia").mkdir()
    (work / "mlflow.db").rename(work / ".pneumonia" / "mlflow.db")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PNEUMONIA_")}
    settings = [setting.split("=") for setting in (*SMALL, *OPEN_GATE) if not setting.startswith("data.root")]
    environment |= {f"PNEUMONIA_{key.upper().replace('.', '__')}": value for key, value in settings}
    environment["PNEUMONIA_SERVING__MODEL"] = "pneumonia-tiny-phantom"  # that of these settings
    environment["PREFECT_HOME"] = str(work / "prefect")
    typed = 0
    for line in commands():
        if line.startswith("make ") or any(words in line for words in ELSEWHERE):
            continue
        line = line.replace("resnet18-phantom", "tiny-phantom")  # the name that the small network registers under
        done = subprocess.run(["bash", "-c", line], cwd=work, env=environment, capture_output=True, text=True)
        # the doctor may find something on this machine; that is its work
        assert done.returncode == 0 or (done.returncode == 1 and line.endswith(" doctor")), f"{line}\n{done.stderr}"
        assert done.stdout.strip(), line
        assert "Traceback" not in done.stdout + done.stderr, line
        typed += 1
    assert typed >= 10


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_paths_of_the_architecture_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"`((?:pneumonia|tasks|flows|tests)/[\w/.]+)`", page):
        assert (ROOT / name).exists(), name


def test_says_that_it_is_no_medical_device() -> None:
    assert "Not a medical device" in README


@pytest.mark.parametrize("name", ["fast", "full"])
def test_metrics_are_those_of_the_committed_results(name: str) -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    now = resolve(name, assignments=["data.root=images"], environment={}).model_dump(mode="json")
    usual = Config().model_dump(mode="json")
    for section in ("preprocess", "augment", "train", "operating_point", "evaluation"):
        measured = usual[section] | found["config"][section]  # a setting that came later changes nothing by default
        assert measured == now[section], f"{section}: measured with other settings than the profile's"
    metrics = found["metrics"]
    column = 2 + ["fast", "full"].index(name)
    for key, words in {"auroc": "AUROC", "accuracy": "accuracy", "sensitivity": "sensitivity"}.items():
        row = next(line for line in README.splitlines() if line.startswith(f"| {words} |"))
        metric = metrics[key]
        wanted = f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"
        assert row.split("|")[column].strip() == wanted


def test_the_ablation_study_is_that_of_the_committed_results() -> None:
    table = json.loads((ROOT / "benchmarks" / "results" / "ablation_study.json").read_text())
    page = (ROOT / "docs" / "validity.md").read_text()

    def told(variant: str, part: str, name: str) -> str:
        metric = table[variant][part][name]
        return f"{metric['mean']:.3f} ± {metric['sd']:.3f}"

    for variant in table:
        parts = (("validation", "auroc"), ("without_shortcuts", "auroc"), ("augmented", "auroc"), ("test", "auroc"))
        cells = (told(variant, *part) for part in (*parts, ("test", "specificity"), ("test", "sensitivity")))
        assert f" | {' | '.join(cells)} |" in page, variant
    for name in ("accuracy", "auroc"):
        assert told("recipe", "test", name) in README
    for name, metric in table["recipe"]["averaged"].items():
        assert name == "models" or f"| {metric:.3f} |" in page, name
    plain = (table["plain"][part]["auroc"]["mean"] for part in ("validation", "test"))
    assert "AUROC of {:.3f} on validation and {:.3f} on the test folder".format(*plain) in README


def test_speeds_are_those_of_the_committed_results() -> None:
    found = json.loads((ROOT / "benchmarks" / "results" / "training.json").read_text())
    for told in (
        f"| {found['ratio']:.1f} times as fast |",
        f"| {found['ratio_later_epochs']:.1f} times |",
        f"| {found['peak_share']:.0%} |".replace("%", " %"),
        f"| {found['data_wait_share'] * 100:.2f} % |",
    ):
        assert told in README


def test_the_time_to_quality_is_that_of_the_committed_result() -> None:
    table = json.loads((ROOT / "benchmarks" / "results" / "time_to_quality.json").read_text())
    native, imitated = (
        "{mean:.0f} times as fast (95 % interval {low:.0f} to {high:.0f}".format(**table[name]["times_as_fast"])
        for name in ("native", "imitated_avx2")
    )
    words = " ".join(README.split())
    assert f"AUROC is reached {native}; {table['native']['precision']}" in words
    assert f"and {imitated}) in float32" in words
    assert len(table["native"]["seeds"]) == len(table["imitated_avx2"]["seeds"]) == 5
    assert table["native"]["met"]
    assert table["imitated_avx2"]["met"]


def test_the_committed_dossier_is_of_the_committed_result() -> None:
    page = (ROOT / "docs/dossier/full.html").read_text(encoding="utf-8")
    result = json.loads((ROOT / "benchmarks/results/full.json").read_text(encoding="utf-8"))
    assert result["weights_digest"] in page
    assert result["data_digest"] in page
    for name in ("auroc", "sensitivity", "specificity"):
        found = result["metrics"][name]
        assert f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})" in page, name
    assert "report/errors.png" in page, "the file is listed, and its picture is not shown"
    assert "The worst errors and the most certain right answers" not in page


def test_the_cross_validation_is_the_committed_one() -> None:
    result = json.loads((ROOT / "benchmarks/results/cross_validation.json").read_text(encoding="utf-8"))
    found = result["metrics"]["auroc"]
    assert f"AUROC of {found['mean']:.3f} ± {found['sd']:.3f} over five folds" in " ".join(README.split())
