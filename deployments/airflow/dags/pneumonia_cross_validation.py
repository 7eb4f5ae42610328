"""The Airflow DAG that measures a recipe by cross-validation."""

from pneumonia_airflow.cross_validation import cross_validation

dag = cross_validation()
