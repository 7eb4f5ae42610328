"""Migrate Airflow's database and create its accounts; a second run sets the passwords of .env again.

The administrator may do everything. The account of alerts may read the DAGs and their runs, and start the monitor's.
"""

import os

from airflow.cli.cli_parser import get_parser
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

MONITOR = "pneumonia_monitor"
ACCOUNTS = {"Admin": "AIRFLOW_ADMIN", "Alerts": "AIRFLOW_ALERTS"}
"""Role of each account, and how the names of its variables begin."""
ALERTS = (
    ("can_read", "DAGs"),
    ("can_read", "DAG Runs"),
    ("can_edit", f"DAG:{MONITOR}"),
    ("can_create", f"DAG Run:{MONITOR}"),
)


def run(*command: str) -> None:
    arguments = get_parser().parse_args(command)
    arguments.func(arguments)


def allow_alerts() -> None:
    """Give the role of alerts its permissions; the monitor's own exist before Airflow has read its DAG."""
    with get_application_builder() as builder:
        role = builder.sm.find_role("Alerts")
        for action, resource in ALERTS:
            builder.sm.add_permission_to_role(role, builder.sm.create_permission(action, resource))


# one process for all: Airflow takes seconds to import
run("db", "migrate")
run("roles", "create", "Alerts")
allow_alerts()
for role, prefix in ACCOUNTS.items():
    login = ("--username", os.environ[f"{prefix}_USER"], "--password", os.environ[f"{prefix}_PASSWORD"])
    person = ("--firstname", "Pneumonia", "--lastname", role, "--email", f"{role.lower()}@example.invalid")
    run("users", "create", "--role", role, *login, *person)
    run("users", "reset-password", *login)
