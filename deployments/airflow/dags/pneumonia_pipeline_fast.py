"""The Airflow DAG of the documented demo: a tenth of the patients, one epoch."""

from pneumonia_airflow.pipeline import pipeline

dag = pipeline("fast")
