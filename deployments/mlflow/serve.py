"""Start the tracking server with the accounts of administrator, pipeline and service; .env sets the passwords.

The pipeline may do what it likes with the experiments and models that it creates, and reads the others (with
less, MLflow answers "denied" where a model does not exist yet). The service reads.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

CONFIG = """[mlflow]
default_permission = READ
database_uri = {database}
admin_username = {admin}
auth_cache_ttl_seconds = 60
"""
"""MLflow hashes a password, 70 ms of a core, several times for each request. With the last line one that was right is
good for a minute without, even if it is changed on MLflow's page meanwhile."""


def account(store: Any, name: str, password: str, *, admin: bool) -> bool:
    """Create an account or set its password anew; return whether it is new."""
    if store.has_user(name):
        store.update_user(name, password=password, is_admin=admin)
        return False
    store.create_user(name, password, is_admin=admin)
    return True


def hand_over(store: Any, client: Any, name: str) -> None:
    """Give an account what was made before the server had a login."""
    for experiment in client.search_experiments():
        store.create_experiment_permission(experiment.experiment_id, name, "MANAGE")
    for model in client.search_registered_models():
        store.create_registered_model_permission(model.name, name, "MANAGE")


def main() -> None:
    """Prepare the accounts, then become the server."""
    database = os.environ["MLFLOW_BACKEND_STORE_URI"]
    admin, pipeline = os.environ["MLFLOW_AUTH_ADMIN_USERNAME"], os.environ["MLFLOW_PIPELINE_USERNAME"]
    config = Path(os.environ["MLFLOW_AUTH_CONFIG_PATH"])
    config.touch(mode=0o600)
    config.write_text(CONFIG.format(database=database.replace("%", "%%"), admin=admin), encoding="utf-8")
    # reads that file when it is imported
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking import MlflowClient

    store = SqlAlchemyStore()
    store.init_db(database)
    account(store, admin, os.environ.pop("MLFLOW_AUTH_ADMIN_PASSWORD"), admin=True)
    if account(store, pipeline, os.environ.pop("MLFLOW_PIPELINE_PASSWORD"), admin=False):
        hand_over(store, MlflowClient(tracking_uri=database, registry_uri=database), pipeline)
    account(store, os.environ.pop("MLFLOW_SERVING_USERNAME"), os.environ.pop("MLFLOW_SERVING_PASSWORD"), admin=False)
    os.execvp("mlflow", ["mlflow", "server", "--app-name=basic-auth", *sys.argv[1:]])  # noqa: S606 - becomes the server


if __name__ == "__main__":
    main()
