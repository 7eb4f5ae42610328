"""The Airflow DAG that looks at the champion's stream every hour."""

from pneumonia_airflow.monitor import monitor

dag = monitor()
