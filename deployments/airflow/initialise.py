"""Migrate Airflow's database and create the administrator; a second run sets the password of .env again."""

import os

from airflow.cli.cli_parser import get_parser

NAME, PASSWORD = os.environ["AIRFLOW_ADMIN_USER"], os.environ["AIRFLOW_ADMIN_PASSWORD"]
PERSON = ["--firstname", "Pneumonia", "--lastname", "Administrator", "--email", "admin@example.invalid"]
COMMANDS = (
    ["db", "migrate"],
    ["users", "create", "--role", "Admin", "--username", NAME, "--password", PASSWORD, *PERSON],
    ["users", "reset-password", "--username", NAME, "--password", PASSWORD],
)

# one process for all three: Airflow takes seconds to import
for command in COMMANDS:
    arguments = get_parser().parse_args(command)
    arguments.func(arguments)
