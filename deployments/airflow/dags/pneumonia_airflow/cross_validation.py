"""Define the cross-validation as an Airflow DAG: plan_folds, then prepare_data, train_model and score_fold mapped over
the folds, and summarise_folds.

The steps are those of flows/cross_validation.py; see pipeline.py for how they run. A mapped task returns its documents
together, so that the next one has them of the same fold.
"""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG, dag, task

from pneumonia_airflow.form import cross_validation_params
from pneumonia_airflow.pipeline import DEFAULTS, ORIGIN, SENT, SETTINGS, STEP, TRAINING

DAG_ID = "pneumonia_cross_validation"
AT_A_TIME = int(os.environ.get("FOLDS_AT_A_TIME", "1"))
"""Folds at a time: one training takes all cores here; with engine ray as many as its cluster has room for."""
DOC = """
Measures a recipe: **plan_folds** lists a configuration for every seed and fold, **prepare_data** holds the patients of
one fold out, **train_model** trains on the others, **score_fold** scores the fold that was held out,
**summarise_folds** writes mean, spread and interval of every metric. Gate set and official test folder are not used,
and nothing is registered. With engine ray, **train_model** gives its fold to the machines of a Ray cluster, which share
the work folder, and FOLDS_AT_A_TIME says how many folds at once. Not a medical device.

Every field below the first five may stay empty: the value of the profile is then used. A new run with the same
settings finds the folds that are finished.
"""


@task.external_python(execution_timeout=timedelta(minutes=30), **STEP)
def plan_folds(params: str, conf: str) -> list:
    from pneumonia_airflow import child

    with child.step("plan_folds") as progress:
        import json

        from pneumonia.cluster import check_engine
        from pneumonia.config.resolve import resolve
        from tasks.plan_folds import plan_folds

        values = json.loads(params)
        check_engine(values["engine"], values["address"])
        assignments = child.assignments(params, conf, child.OWN_OF_FOLDS)
        planned = plan_folds(
            resolve(values["profile"], assignments=assignments), values["seeds"], values["folds"], progress
        )
        return [config.model_dump(mode="json") for config in planned]


@task.external_python(execution_timeout=timedelta(hours=2), max_active_tis_per_dagrun=AT_A_TIME, **STEP)
def prepare_data(config: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("prepare_data") as progress:
        from pneumonia.config.schema import Config
        from tasks.prepare_data import prepare_data

        dataset = prepare_data(Config.model_validate(config), progress)
        return {"config": config, "dataset": dataset.model_dump(mode="json")}


@task.external_python(execution_timeout=TRAINING["full"], max_active_tis_per_dagrun=AT_A_TIME, **STEP)
def train_model(prepared: dict, tags: dict, form: str) -> dict:
    from pneumonia_airflow import child

    with child.step("train_model") as progress:
        import json

        from pneumonia.config.schema import Config
        from pneumonia.records.steps import Dataset
        from tasks.train_model import train_model

        images, settings = Dataset.model_validate(prepared["dataset"]), Config.model_validate(prepared["config"])
        values = json.loads(form)
        if values["engine"] == "ray":  # which scores the fold too: score_fold finds its result
            from tasks.measure_folds import measure_folds

            trained = measure_folds([images], [settings], values["address"], progress, tags)[0].trained
        else:
            trained = train_model(images, settings, progress, tags)
        print(f"MLflow run: {child.public(trained.run_url)}", flush=True)
        return {**prepared, "trained": trained.model_dump(mode="json")}


@task.external_python(execution_timeout=timedelta(hours=2), max_active_tis_per_dagrun=AT_A_TIME, **STEP)
def score_fold(fold: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("score_fold") as progress:
        from pneumonia.config.schema import Config
        from pneumonia.records.steps import Dataset, TrainedModel
        from tasks.score_fold import score_fold

        images, model = Dataset.model_validate(fold["dataset"]), TrainedModel.model_validate(fold["trained"])
        result = score_fold(images, model, Config.model_validate(fold["config"]), progress)
        return {"config": fold["config"], "dataset": fold["dataset"], "result": result.model_dump(mode="json")}


@task(show_return_value_in_logs=False)
def collect(folds: list) -> list:
    """Read the results of the mapped tasks: Airflow gives a list that is read only when it is used."""
    return list(folds)


@task.external_python(execution_timeout=timedelta(hours=2), **STEP)
def summarise_folds(folds: list, tags: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("summarise_folds") as progress:
        from pneumonia.config.schema import Config
        from pneumonia.records.cross_validation import FoldResult
        from pneumonia.records.steps import Dataset
        from tasks.summarise_folds import summarise_folds

        datasets = [Dataset.model_validate(fold["dataset"]) for fold in folds]
        results = [FoldResult.model_validate(fold["result"]) for fold in folds]
        configs = [Config.model_validate(fold["config"]) for fold in folds]
        found = summarise_folds(datasets, results, configs, progress, tags)
        print(f"MLflow run: {found.run_id}", flush=True)
        return found.model_dump(mode="json")


def cross_validation() -> DAG:
    """Return the DAG."""

    @dag(
        dag_id=DAG_ID,
        description="Cross-validation by patient: how good a recipe's models are, and how much that varies",
        doc_md=DOC,
        schedule=None,
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        params=cross_validation_params(),
        tags=["pneumonia", "cross-validation"],
        default_args=DEFAULTS,
    )
    def graph() -> None:
        prepared = prepare_data.expand(config=plan_folds(SETTINGS, SENT))
        trained = train_model.partial(tags=ORIGIN, form=SETTINGS).expand(prepared=prepared)
        scored = score_fold.expand(fold=trained)
        summarise_folds(collect(scored), ORIGIN)

    return graph()
