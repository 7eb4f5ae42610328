"""The Airflow DAG of the complete training: every patient, ten epochs."""

from pneumonia_airflow.pipeline import pipeline

dag = pipeline("full")
