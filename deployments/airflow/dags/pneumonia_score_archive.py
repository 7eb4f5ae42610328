"""The Airflow DAG that scores an archive."""

from pneumonia_airflow.score_archive import score_archive_dag

dag = score_archive_dag()
