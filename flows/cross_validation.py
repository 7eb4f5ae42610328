"""Cross-validation as a Prefect flow: plan_folds, then prepare_data, train_model and score_fold for every fold, and
summarise_folds.

python flows/cross_validation.py --help
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # `python flows/cross_validation.py` puts flows/ there alone

from flows.defaults import set_defaults
from flows.heartbeat import Heartbeat
from flows.supervisor import ready, refuse_launcher, supervise
from pneumonia.environment import prepare as prepare_environment

set_defaults()
if __name__ == "__main__":  # before the libraries, which take seconds to load
    prepare_environment()
    refuse_launcher()
    supervise()
    alive = Heartbeat("loading the libraries")
    alive.start()
    from flows import prefect_server

    prefect_server.load()

import typer
from prefect import flow, runtime
from prefect.artifacts import create_markdown_artifact

import tasks.measure_folds as cluster
import tasks.plan_folds as plan
import tasks.score_fold as score
import tasks.summarise_folds as summary
from flows.options import (
    Address,
    ConfigFile,
    Data,
    Engine,
    OnUnreadable,
    Profile,
    Settings,
    Weights,
    resolved,
)  # fmt: skip
from flows.parameters import guarded
from flows.pipeline import prepare_data, step, train_model
from flows.progress import reported
from flows.terminal import announce, failures, summarise_cross_validation
from pneumonia.cluster import EngineName, check_engine
from pneumonia.config.schema import Config
from pneumonia.records.cross_validation import CrossValidation, FoldResult
from pneumonia.records.steps import Dataset, TrainedModel
from pneumonia.reporting.cross_validation_report import REPORT


@step("plan_folds")
def plan_folds(config: Config, seeds: Sequence[int], folds: int) -> tuple[Config, ...]:
    with reported("plan_folds") as progress:
        return plan.plan_folds(config, seeds, folds, progress)


@step("score_fold")
def score_fold(dataset: Dataset, trained: TrainedModel, config: Config) -> FoldResult:
    with reported("score_fold") as progress:
        return score.score_fold(dataset, trained, config, progress)


@step("summarise_folds")
def summarise_folds(
    datasets: Sequence[Dataset], results: Sequence[FoldResult], configs: Sequence[Config]
) -> CrossValidation:
    tags = {"prefect.flow_run_id": str(runtime.flow_run.id)}
    with reported("summarise_folds") as progress:
        found = summary.summarise_folds(datasets, results, configs, progress, tags)
    page = (summary.folder_of(found, configs[0]) / REPORT).read_text(encoding="utf-8")
    create_markdown_artifact(page, key="cross-validation", description="Report of the cross-validation")
    return found


@step("measure_folds")
def measure_folds(datasets: Sequence[Dataset], configs: Sequence[Config], address: str) -> list[FoldResult]:
    """Train and score the folds on a cluster, as many at once as it has room for: one run of Prefect's for all."""
    tags = {"prefect.flow_run_id": str(runtime.flow_run.id)}
    with reported("measure_folds") as progress:
        return [fold.result for fold in cluster.measure_folds(datasets, configs, address, progress, tags)]


def for_each(task: Any, *columns: Sequence[Any], **same: Any) -> list[Any]:
    """Map a step over the folds: a task run each, one after another, because one training takes all cores.

    They run in the flow's own thread, the only one where a training that is stopped writes its checkpoint.

    Args:
        task: the step.
        columns: its arguments, each of all folds.
        same: its further arguments, of every fold.
    """
    rows = list(zip(*columns, strict=True))
    done = []
    for number, row in enumerate(rows, 1):
        print(f"{task.name}: {number} of {len(rows)}", file=sys.stderr, flush=True)
        done.append(task(*row, **same))
    return done


@guarded
@flow(name="pneumonia-cross-validation", persist_result=False)
def cross_validation(
    config: Config, seeds: Sequence[int] = (0,), folds: int = 5, engine: EngineName = "local", address: str = ""
) -> CrossValidation:
    """Train a model without each fold of the patients, and score it on that fold; nothing is registered.

    Args:
        config: the whole configuration; `pneumonia config --profile full` prints one.
        seeds: each of a division into folds and of the trainings on it.
        folds: of each seed.
        engine: local, one fold after another on this machine; ray, on the machines of a cluster.
        address: of the Ray cluster.
    """
    cluster.check_cluster(config, engine, address)
    planned = plan_folds(config, seeds, folds)
    datasets = for_each(prepare_data, planned)
    if engine == "ray":
        results = measure_folds(datasets, planned, address)
    else:
        trained = for_each(train_model, datasets, planned, fresh=False, trace="")
        results = for_each(score_fold, datasets, trained, planned)
    found: CrossValidation = summarise_folds(datasets, results, planned)
    return found


def main(
    profile: Profile = "fast",
    folds: Annotated[
        int, typer.Option(min=2, max=100, help="folds that the patients are dealt into; each is held out once")
    ] = 5,
    seeds: Annotated[
        list[int] | None,
        typer.Option(
            help="seed of a division into folds and of its trainings, 0 by default; repeatable, all folds for each"
        ),
    ] = None,
    data: Data = None,
    weights: Weights = None,
    settings: Settings = None,
    file: ConfigFile = None,
    on_unreadable: OnUnreadable = None,
    engine: Engine = "local",
    address: Address = "",
) -> None:
    """Measure a recipe by cross-validation: how good its models are on patients that they have never seen, and how
    much that varies.

    The patients of the training folders are dealt into folds; the gate set and the official test folder are not used.
    A model is trained without each fold in turn and scored on it. Nothing is registered or promoted. A command that was
    stopped or killed is typed again: it finds what is finished.

    The whole recipe, five folds and two seeds, ten trainings:

    python flows/cross_validation.py --profile full --folds 5 --seeds 0 --seeds 1 --data data/chest_xray

    On a Ray cluster, whose machines share the work folder and an MLflow server (docs/scale.md):

    python flows/cross_validation.py --profile full --engine ray --address HOST:6379 --set work=/mnt/share/pneumonia

    Not a medical device.
    """
    with failures():
        config = resolved(
            profile, file, settings, data_root=data, model_weights=weights, data_on_unreadable=on_unreadable
        )
        chosen = check_engine(engine, address)
        announce(config)
        found = cross_validation(config, seeds or [0], folds, chosen, address)
        summarise_cross_validation(config, found, summary.folder_of(found, config) / REPORT)


if __name__ == "__main__":
    ready()
    alive.say("starting the flow")
    try:
        typer.run(main)
    finally:
        alive.stop()
