"""Define the scoring of an archive as an Airflow DAG of one step; see pipeline.py for how it runs.

With engine ray the step gives the parts of the archive to the same Ray cluster as the Prefect flow does.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, dag, task

from pneumonia_airflow.form import score_archive_params
from pneumonia_airflow.pipeline import DEFAULTS, SENT, SETTINGS, STEP

DAG_ID = "pneumonia_score_archive"
DOC = """
Scores the images of an archive into a Parquet file, one row for each image: **score_archive**. Archive and result are
paths of the workers, or addresses in S3 or Google Cloud Storage, whose credentials the workers have. A run that was
stopped goes on where it was, when it is started again with the same fields. Not a medical device.
"""


@task.external_python(execution_timeout=timedelta(days=7), **STEP)
def score_archive(params: str, conf: str) -> dict:
    from pneumonia_airflow import child

    with child.step("score_archive") as progress:
        import json

        from pneumonia.config.resolve import resolve
        from tasks.score_archive import score_archive

        values = json.loads(params)
        config = resolve(values["profile"], assignments=child.assignments(params, conf, child.OWN_OF_ARCHIVES))
        found = score_archive(
            config, values["source"], values["out"], values["model"], values["engine"], values["address"], progress
        )
        return found.model_dump(mode="json")


def score_archive_dag() -> DAG:
    """Return the DAG."""

    @dag(
        dag_id=DAG_ID,
        description="Scores an archive of images into a Parquet file, on this machine or on a Ray cluster",
        doc_md=DOC,
        schedule=None,
        catchup=False,
        max_active_runs=4,
        is_paused_upon_creation=False,
        params=score_archive_params(),
        tags=["pneumonia", "score"],
        default_args=DEFAULTS,
    )
    def graph() -> None:
        score_archive(SETTINGS, SENT)

    return graph()
