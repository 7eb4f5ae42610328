"""Define the pipeline as an Airflow DAG: prepare_data, train_model, export_model, validate_model, build_dossier,
promote_model.

The steps run in the library's own Python, separate from Airflow's. Airflow copies each function's source there, so that
a function imports what it needs and uses nothing of this module; its arguments and result are JSON.
"""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, dag, task

from pneumonia_airflow.environment import step_environment
from pneumonia_airflow.form import params
from pneumonia_airflow.outcome import CHAMPION, MlflowRun, WhereItHelps, announce_champion, log_failure, log_retry

PYTHON = os.environ.get("LIBRARY_PYTHON", "/opt/pneumonia/bin/python")
STEP = {
    "python": PYTHON,
    "expect_airflow": False,
    "inherit_env": False,
    "env_vars": step_environment(),
    "retry_policy": WhereItHelps(),
    "show_return_value_in_logs": False,
}

DOC = """
Trains a model of radiographs, validates and registers it: **prepare_data** packs, audits and divides the images,
**train_model** trains and resumes an interrupted training, **export_model** makes the graphs that are served,
**validate_model** scores the test images and applies the gate, **build_dossier** writes and signs what shows how the
model earned its place, **promote_model** makes a model that has passed the champion. Not a medical device.

Every field of the form may stay empty: the value of profile `{profile}` is then used. Stopping the run stops the
training, which writes a checkpoint; a new run with the same settings resumes from it.
"""
# a retry after 10 s, then after a minute; Airflow's jitter can double both
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=10), "retry_exponential_backoff": 6.0}
DEFAULTS = {
    "owner": "pneumonia",
    "on_failure_callback": log_failure,
    "on_retry_callback": log_retry,
    **RETRIES,
}
"""What the tasks of every DAG share."""
TRAINING = {"fast": timedelta(hours=2), "full": timedelta(days=1)}
SETTINGS = "{{ params | tojson }}"
SENT = "{{ dag_run.conf | tojson }}"  # before Airflow has laid it over the form: here a mistyped name can be seen
REASONS = "{{ ti.xcom_pull(task_ids='validate_model')['verdict']['reasons'] | map(attribute='text') | join('; ') }}"
RUN = "[The run in MLflow]({{ ti.xcom_pull(task_ids='train_model', key='url') }})"
ORIGIN = {"airflow.dag_id": "{{ dag.dag_id }}", "airflow.run_id": "{{ run_id }}"}


@task.external_python(execution_timeout=timedelta(hours=2), multiple_outputs=True, **STEP)
def prepare_data(profile: str, params: str, conf: str) -> dict:
    from pneumonia_airflow import child

    with child.step("prepare_data") as progress:
        from pneumonia.config.resolve import resolve
        from tasks.prepare_data import prepare_data

        config = resolve(profile, assignments=child.assignments(params, conf))
        dataset = prepare_data(config, progress)
        return {"config": config.model_dump(mode="json"), "dataset": dataset.model_dump(mode="json")}


@task.external_python(multiple_outputs=True, **STEP)
def train_model(dataset: dict, config: dict, tags: dict, params: str, try_number: str) -> dict:
    from pneumonia_airflow import child

    with child.step("train_model") as progress:
        import json

        from pneumonia.config.schema import Config
        from pneumonia.records.steps import Dataset
        from pneumonia.tracking.run_tags import TRACE_TAG
        from tasks.train_model import train_model

        values = json.loads(params)
        fresh = values["fresh"] and int(try_number) == 1  # a retry resumes from the checkpoint
        if values["trace"]:
            tags = {**tags, TRACE_TAG: values["trace"]}
        images, settings = Dataset.model_validate(dataset), Config.model_validate(config)
        trained = train_model(images, settings, progress, tags, fresh)
        url = child.public(trained.run_url)
        print(f"MLflow run: {url}", flush=True)
        return {"trained": trained.model_dump(mode="json"), "url": url}


@task.external_python(execution_timeout=timedelta(hours=2), **STEP)
def export_model(dataset: dict, trained: dict, config: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("export_model") as progress:
        from pneumonia.config.schema import Config
        from pneumonia.records.steps import Dataset, TrainedModel
        from tasks.export_model import export_model

        images, model = Dataset.model_validate(dataset), TrainedModel.model_validate(trained)
        exported = export_model(images, model, Config.model_validate(config), progress)
        print(f"{exported.precision} is served: {exported.reason}", flush=True)
        return exported.model_dump(mode="json")


@task.external_python(execution_timeout=timedelta(hours=2), **STEP)
def validate_model(dataset: dict, trained: dict, exported: dict, config: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("validate_model") as progress:
        from pneumonia.config.schema import Config
        from pneumonia.records.steps import Dataset, ExportedModel, TrainedModel
        from tasks.validate_model import validate_model

        images, model = Dataset.model_validate(dataset), TrainedModel.model_validate(trained)
        graphs, settings = ExportedModel.model_validate(exported), Config.model_validate(config)
        validation = validate_model(images, model, graphs, settings, progress)
        for reason in validation.verdict.reasons:
            print(f"{'passed' if reason.passed else 'not passed'}: {reason.text}", flush=True)
        print(f"MLflow run: {child.public(model.run_url)}", flush=True)
        return validation.model_dump(mode="json")


@task.external_python(execution_timeout=timedelta(hours=1), **STEP)
def build_dossier(dataset: dict, trained: dict, exported: dict, validation: dict, config: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("build_dossier") as progress:
        from pneumonia.config.schema import Config
        from pneumonia.records.steps import Dataset, ExportedModel, TrainedModel, Validation
        from tasks.build_dossier import build_dossier

        images, model = Dataset.model_validate(dataset), TrainedModel.model_validate(trained)
        graphs, verdict = ExportedModel.model_validate(exported), Validation.model_validate(validation)
        built = build_dossier(images, model, graphs, verdict, Config.model_validate(config), progress)
        return built.model_dump(mode="json")


@task.external_python(
    execution_timeout=timedelta(hours=2, minutes=30), outlets=[CHAMPION], post_execute=announce_champion, **STEP
)
def promote_model(dataset: dict, trained: dict, exported: dict, validation: dict, built: dict, config: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("promote_model") as progress:
        from pneumonia.config.schema import Config
        from pneumonia.records.steps import BuiltDossier, Dataset, ExportedModel, TrainedModel, Validation
        from tasks.promote_model import promote_or_validate_again

        images, model = Dataset.model_validate(dataset), TrainedModel.model_validate(trained)
        graphs, dossier = ExportedModel.model_validate(exported), BuiltDossier.model_validate(built)
        verdict, settings = Validation.model_validate(validation), Config.model_validate(config)
        last, promotion = promote_or_validate_again(images, model, graphs, verdict, dossier, settings, progress)
        if last != verdict:
            print("the champion has moved since the validation, so the model was validated again", flush=True)
        return promotion.model_dump(mode="json")


class Approval(ApprovalOperator):
    """Wait for a person's approval where the run's form requests it and the verdict is passed."""

    def execute(self, context):  # type: ignore[no-untyped-def]
        verdict = context["ti"].xcom_pull(task_ids="validate_model")["verdict"]
        if context["params"]["approval"] and verdict["passed"]:
            return super().execute(context)
        self.log.info("nothing to approve" if context["params"]["approval"] else "no approval is requested")
        return None


def pipeline(profile: str) -> DAG:
    """Return the DAG of a profile."""

    @dag(
        dag_id=f"pneumonia_pipeline_{profile}",
        description=f"From radiographs to a validated, registered model (profile {profile})",
        doc_md=DOC.format(profile=profile),
        schedule=None,
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        params=params(profile),
        tags=["pneumonia", profile],
        default_args=DEFAULTS,
    )
    def graph() -> None:
        prepared = prepare_data(profile, SETTINGS, SENT)
        dataset, config = prepared["dataset"], prepared["config"]
        training = train_model.override(execution_timeout=TRAINING[profile])(
            dataset, config, ORIGIN, SETTINGS, "{{ ti.try_number }}"
        )
        trained = training["trained"]
        exported = export_model(dataset, trained, config)
        validation = validate_model(dataset, trained, exported, config)
        approval = Approval(
            task_id="approve_promotion",
            subject="Make this model the champion?",
            body=f"{REASONS}\n\n{RUN}",
            defaults="Reject",
            response_timeout=timedelta(days=1),
        )
        built = build_dossier(dataset, trained, exported, validation, config)
        promotion = promote_model(dataset, trained, exported, validation, built, config)
        built >> approval >> promotion
        for result in (training, validation):
            result.operator.operator_extra_links = (MlflowRun(),)

    return graph()
