"""The pipeline as a Prefect flow: prepare_data, train_model, export_model, validate_model, build_dossier,
promote_model.

python flows/pipeline.py --help
torchrun --nproc-per-node 2 flows/pipeline.py --set train.shards=4
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `python flows/pipeline.py` puts flows/ there alone

from flows.defaults import set_defaults
from flows.heartbeat import Heartbeat
from flows.supervisor import ready, supervise
from pneumonia.environment import prepare as prepare_environment

set_defaults()
if __name__ == "__main__":  # before the libraries, which take seconds to load
    prepare_environment()
    supervise()
    alive = Heartbeat("loading the libraries")
    alive.start()
    from flows import prefect_server

    prefect_server.load()

import typer
from prefect import flow, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput

import tasks.build_dossier as dossier
import tasks.export_model as export
import tasks.prepare_data as prepare
import tasks.promote_model as promote
import tasks.train_model as train
import tasks.validate_model as validate
from flows.options import ConfigFile, Data, OnUnreadable, Profile, Settings, Weights, resolved
from flows.parameters import guarded
from flows.progress import reported
from flows.terminal import announce, failures, summarise
from pneumonia.config.schema import Config
from pneumonia.errors import PneumoniaError, worth_retrying
from pneumonia.records.steps import BuiltDossier, Dataset, ExportedModel, Promotion, TrainedModel, Validation
from pneumonia.tracking.run_tags import TRACE_TAG
from tasks.help_training import help_training, is_helper

RETRIES = 2
RETRY_SECONDS = [10.0, 60.0]
APPROVAL_SECONDS = 86_400


def retry_helps(_task: object, _run: object, state: object) -> bool:
    """Decide on another try by the library's list, which is also the DAG's."""
    try:
        state.result()  # type: ignore[attr-defined]
    except BaseException as error:  # noqa: BLE001 - whatever it is, the run reports it
        return worth_retrying(error)
    return False


def step(name: str):  # type: ignore[no-untyped-def]
    """Return the decorator of a step: retried where that helps, never cached."""
    return task(
        name=name,
        retries=RETRIES,
        retry_delay_seconds=RETRY_SECONDS,
        retry_condition_fn=retry_helps,
        # the steps find finished work themselves, by its name, and check that it is still there
        cache_policy=NO_CACHE,
        persist_result=False,
    )


@step("prepare_data")
def prepare_data(config: Config) -> Dataset:
    with reported("prepare_data") as progress:
        dataset = prepare.prepare_data(config, progress)
    create_markdown_artifact(
        Path(dataset.audit).with_suffix(".md").read_text(encoding="utf-8"), key="audit", description="Data audit"
    )
    return dataset


@step("train_model")
def train_model(dataset: Dataset, config: Config, fresh: bool, trace: str) -> TrainedModel:
    run = {"prefect.flow_run_id": str(runtime.flow_run.id)} | ({TRACE_TAG: trace} if trace else {})
    first = runtime.task_run.run_count == 1  # a retry goes on from the checkpoint
    with reported("train_model") as progress:
        return train.train_model(dataset, config, progress, run, fresh=fresh and first)


@step("export_model")
def export_model(dataset: Dataset, trained: TrainedModel, config: Config) -> ExportedModel:
    with reported("export_model") as progress:
        return export.export_model(dataset, trained, config, progress)


@step("validate_model")
def validate_model(dataset: Dataset, trained: TrainedModel, exported: ExportedModel, config: Config) -> Validation:
    with reported("validate_model") as progress:
        validation = validate.validate_model(dataset, trained, exported, config, progress)
    _publish(validation)
    return validation


def _publish(validation: Validation) -> None:
    create_markdown_artifact(
        Path(validation.report).read_text(encoding="utf-8"), key="report", description="Report of the model"
    )
    reasons = [reason.model_dump() for reason in validation.verdict.reasons]
    create_table_artifact(reasons, key="verdict", description="passed" if validation.verdict.passed else "not passed")


@step("build_dossier")
def build_dossier(
    dataset: Dataset, trained: TrainedModel, exported: ExportedModel, validation: Validation, config: Config
) -> BuiltDossier:
    with reported("build_dossier") as progress:
        return dossier.build_dossier(dataset, trained, exported, validation, config, progress)


@step("promote_model")
def promote_model(
    dataset: Dataset,
    trained: TrainedModel,
    exported: ExportedModel,
    validation: Validation,
    built: BuiltDossier,
    config: Config,
) -> tuple[Validation, Promotion]:
    with reported("promote_model") as progress:
        last, promotion = promote.promote_or_validate_again(
            dataset, trained, exported, validation, built, config, progress
        )
    if last != validation:
        _publish(last)
    return last, promotion


class Approval(RunInput):
    """What a person says on the run's page."""

    approve: bool


def wait_for_approval(validation: Validation) -> None:
    """Wait for a person, for a day; without an approval the run ends here, as failed, and nothing is promoted."""
    reasons = "; ".join(reason.text for reason in validation.verdict.reasons)
    asked = Approval.with_initial_data(description=f"Make this model the champion? {reasons}", approve=False)
    if not pause_flow_run(wait_for_input=asked, timeout=APPROVAL_SECONDS).approve:
        raise PneumoniaError("the promotion was not approved")


@guarded
@flow(name="pneumonia-pipeline", persist_result=False)
def pipeline(
    config: Config, fresh: bool = False, trace: str = "", approval: bool = False
) -> tuple[TrainedModel, Validation, Promotion]:
    """Take radiographs to a validated, registered model.

    Args:
        config: the whole configuration; `pneumonia config --profile full` prints one.
        fresh: train anew, although this training has been done before.
        trace: id of the loop that this run belongs to; empty for none.
        approval: wait for a person's approval before the promotion, on this run's page.
    """
    dataset = prepare_data(config)
    trained = train_model(dataset, config, fresh, trace)
    exported = export_model(dataset, trained, config)
    validation = validate_model(dataset, trained, exported, config)
    built = build_dossier(dataset, trained, exported, validation, config)
    if approval and validation.verdict.passed:
        wait_for_approval(validation)
    last, promotion = promote_model(dataset, trained, exported, validation, built, config)
    return trained, last, promotion


def main(
    profile: Profile = "fast",
    data: Data = None,
    weights: Weights = None,
    settings: Settings = None,
    file: ConfigFile = None,
    on_unreadable: OnUnreadable = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="train anew, although this training was done before")] = False,
) -> None:
    """Take radiographs to a validated, registered model. Not a medical device."""
    with failures():
        config = resolved(
            profile, file, settings, data_root=data, model_weights=weights, data_on_unreadable=on_unreadable
        )
        if is_helper():
            help_training(config)
            return
        announce(config)
        trained, validation, promotion = pipeline(config, fresh)
        summarise(config, trained, validation, promotion)


if __name__ == "__main__":
    ready()
    alive.say("starting the flow")
    try:
        typer.run(main)
    finally:
        alive.stop()
