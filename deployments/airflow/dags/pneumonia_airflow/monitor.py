"""Define the loop as an Airflow DAG: detect_drift, decide_action, and where that says so a retraining or recalibration.

The steps are those of flows/monitor.py; see pipeline.py for how they run. The retraining is a run of the pipeline's own
DAG, with the champion's settings.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, dag, task

from pneumonia_airflow.pipeline import DEFAULTS, STEP

DAG_ID = "pneumonia_monitor"
EVERY = timedelta(hours=1)
LONGEST = timedelta(days=2)
"""Time that a loop may take; until then another run leaves it to this one, which Airflow itself resumes."""
DOC = """
Looks at the images that the service has answered: **detect_drift** compares them with the champion's reference,
**decide_action** decides what follows, **ingest_feedback** or **recalibrate_model** prepare it, **run_pipeline**
trains, validates and promotes as ever, **finish_loop** writes down what came of it. At most one loop runs at a time;
the gate may refuse. Not a medical device.
"""
ORIGIN = {"airflow.dag_id": "{{ dag.dag_id }}", "airflow.run_id": "{{ run_id }}", "trigger": "{{ params.trigger }}"}
CHANGED = "(ti.xcom_pull(task_ids='ingest_feedback') or ti.xcom_pull(task_ids='recalibrate_model'))"
TRACE = "{{ ti.xcom_pull(task_ids='decide_action')['trace_id'] }}"


@task.external_python(execution_timeout=timedelta(minutes=30), **STEP)
def detect_drift(tags: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("detect_drift") as progress:
        from pneumonia.config.resolve import resolve
        from tasks.detect_drift import detect_drift

        check = detect_drift(resolve("fast"), progress, tags)
        print(f"{check.words}\nMLflow run: {child.public(check.run_url)}", flush=True)
        return check.model_dump(mode="json")


@task.external_python(execution_timeout=timedelta(minutes=30), **STEP)
def decide_action(check: dict, holder: str, lease: float) -> dict:  # run_id would be a name of Airflow's own
    from pneumonia_airflow import child

    with child.step("decide_action") as progress:
        from pneumonia.config.resolve import resolve
        from pneumonia.records.loop import DriftCheck
        from tasks.decide_action import decide_action

        found = DriftCheck.model_validate(check)
        return decide_action(found, resolve("fast"), holder, lease, progress).model_dump(mode="json")


@task.branch
def choose(decision: dict) -> str | None:
    """Return the task that follows from the decision; None where nothing does."""
    follows = {"retrain": "ingest_feedback", "recalibrate": "recalibrate_model", "notify": "notify"}
    return follows.get(decision["action"])


@task.external_python(execution_timeout=timedelta(hours=2), **STEP)
def ingest_feedback(decision: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("ingest_feedback") as progress:
        from pneumonia.records.loop import Decision
        from tasks.ingest_feedback import ingest_feedback

        changed = ingest_feedback(Decision.model_validate(decision), progress)
        return child.pipeline_run(changed.model_dump(mode="json"))


@task.external_python(execution_timeout=timedelta(hours=2), **STEP)
def recalibrate_model(decision: dict) -> dict:
    from pneumonia_airflow import child

    with child.step("recalibrate_model") as progress:
        from pneumonia.config.resolve import resolve
        from pneumonia.records.loop import Decision
        from tasks.recalibrate_model import recalibrate_model

        changed = recalibrate_model(Decision.model_validate(decision), resolve("fast"), progress)
        return child.pipeline_run(changed.model_dump(mode="json"))


@task
def notify(decision: dict) -> None:
    """Say what a person is to look at; Alertmanager sends the alert itself."""
    import logging

    logging.getLogger("pneumonia").warning("%s", decision["reason"])


@task.external_python(execution_timeout=timedelta(minutes=30), trigger_rule="all_done", **STEP)
def finish_loop(decision: dict) -> dict | None:
    from pneumonia_airflow import child

    with child.step("finish_loop") as progress:
        from pneumonia.config.resolve import resolve
        from pneumonia.records.loop import Decision
        from tasks.finish_loop import finish_loop

        found = Decision.model_validate(decision)
        if found.trace_id is None:
            print("no loop was run", flush=True)
            return None
        return finish_loop(found, resolve("fast"), progress).model_dump(mode="json")


def monitor() -> DAG:
    """Return the DAG of the loop."""

    @dag(
        dag_id=DAG_ID,
        description="Looks at what the service has answered, and retrains or recalibrates where that follows",
        doc_md=DOC,
        schedule=EVERY,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=2,  # while a loop runs, the next looks go on
        is_paused_upon_creation=False,
        params={"trigger": Param("schedule", type="string", description="What has started this run")},
        tags=["pneumonia", "monitor"],
        default_args=DEFAULTS,
    )
    def graph() -> None:
        decision = decide_action(detect_drift(ORIGIN), "airflow {{ run_id }}", LONGEST.total_seconds())
        chosen = choose(decision)
        retraining, recalibrating, notice = ingest_feedback(decision), recalibrate_model(decision), notify(decision)
        chosen >> [retraining, recalibrating, notice]
        run = TriggerDagRunOperator(
            task_id="run_pipeline",
            trigger_dag_id=f"{{{{ {CHANGED}['dag_id'] }}}}",
            trigger_run_id=f"loop__{TRACE}__{{{{ ti.try_number }}}}",
            conf=f"{{{{ {CHANGED}['conf'] | tojson }}}}",
            wait_for_completion=True,
            poke_interval=5,
            execution_timeout=LONGEST,
            trigger_rule="none_failed_min_one_success",
        )
        [retraining, recalibrating] >> run >> finish_loop(decision)

    return graph()
