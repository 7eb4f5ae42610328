"""Run in Airflow's environment, not this one's: prints as JSON what the DAG files hold and what reading them took."""

from __future__ import annotations

import importlib.util
import inspect
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any


def held(operator: Any, name: str, default: Any = None) -> Any:
    """Return what an operator was made with; a mapped one holds it for the tasks that it will be."""
    return getattr(operator, "partial_kwargs", {}).get(name, getattr(operator, name, default))


def task(operator: Any) -> dict[str, Any]:
    mapped = hasattr(operator, "partial_kwargs")
    function = held(operator, "python_callable")
    return {
        "class": (operator.operator_class if mapped else type(operator)).__name__,
        "mapped": mapped,
        "at_a_time": operator.max_active_tis_per_dagrun,
        "downstream": sorted(operator.downstream_task_ids),
        "retries": operator.retries,
        "retry_seconds": operator.retry_delay.total_seconds(),
        "backoff": operator.retry_exponential_backoff,
        "timeout": operator.execution_timeout and operator.execution_timeout.total_seconds(),
        "owner": operator.owner,
        "python": held(operator, "python"),
        "source": source(operator, function),
        "arguments": [str(argument) for argument in held(operator, "op_args", ())],
        "reserved": reserved(operator),
        "inherits": held(operator, "inherit_env"),
        "variables": held(operator, "env_vars"),
        "policy": type(held(operator, "retry_policy")).__name__,
        "outlets": [outlet.name for outlet in held(operator, "outlets", ())],
        "links": [link.name for link in operator.operator_extra_links],
        "response_timeout": held(operator, "response_timeout") is not None,
    }


def source(operator: Any, function: Any) -> str:
    """Return the source that runs, without the decorator where Airflow itself removes it."""
    if hasattr(operator, "get_python_source"):
        return str(operator.get_python_source())
    return inspect.getsource(function) if function else ""


def reserved(operator: Any) -> list[str]:
    """Return the parameters that a call fills by their place and that have a name of Airflow's context: it fails."""
    from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

    function = held(operator, "python_callable")
    if function is None:
        return []
    # of another Python, a step gets these alone
    kind = getattr(operator, "operator_class", type(operator))
    context = getattr(kind, "BASE_SERIALIZABLE_CONTEXT_KEYS", KNOWN_CONTEXT_KEYS)
    given = list(inspect.signature(function).parameters)
    names = given if hasattr(operator, "partial_kwargs") else given[: len(operator.op_args)]
    return [name for name in names if name in context]


def describe(path: Path) -> dict[str, Any]:
    began = time.process_time()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    seconds = time.process_time() - began
    dag = module.dag
    return {
        "seconds": seconds,
        "dag_id": dag.dag_id,
        "schedule": dag.schedule,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "paused": dag.is_paused_upon_creation,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md,
        "params": {name: param.serialize() for name, param in dag.params.items()},
        "tasks": {operator.task_id: task(operator) for operator in dag.tasks},
    }


def retries(statuses: list[int]) -> dict[str, str]:
    """Return what the retry policy decides for each exit status, as Airflow words it."""
    from airflow.sdk.exceptions import AirflowException
    from pneumonia_airflow.outcome import WhereItHelps

    text = "Process returned non-zero exit status {}.\nwhat happened"
    return {
        str(status): WhereItHelps().evaluate(AirflowException(text.format(status)), 1, 2).action.value
        for status in statuses
    }


def serialised(folder: Path) -> list[str]:
    """Return the errors that Airflow itself finds in the folder, each DAG carried through its serialisation."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    bag = DagBag(dag_folder=str(folder))
    for dag in bag.dags.values():
        DagSerialization.to_dict(dag)
    return [*bag.import_errors.values(), *([] if bag.dags else ["no DAG found"])]


if __name__ == "__main__":
    import airflow.sdk  # noqa: F401 - the DAG processor has it before it reads a file

    logging.disable(logging.CRITICAL)
    folder = Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    found = [describe(path) for path in sorted(folder.glob("*.py"))]
    heavy = sorted({"torch", "mlflow", "pneumonia", "tasks", "numpy", "pandas"} & set(sys.modules))
    result = {
        "dags": found,
        "heavy": heavy,
        "retries": retries([75, 65, 70, 1, 143, 130, -9, -15, -2]),
        "errors": serialised(folder),
    }
    print(json.dumps(result, default=str))
