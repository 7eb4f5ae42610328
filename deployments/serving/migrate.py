"""Bring the monitoring database to this release's tables, before anything else of the release is started.

    python migrate.py

The database is the service's: monitoring.database, by default MONITORING_DATABASE_URI. One process migrates at a time.
"""

from __future__ import annotations

import sys

import sqlalchemy as sa

from pneumonia.config.resolve import resolve
from pneumonia.errors import PneumoniaError
from pneumonia.monitoring.database import Database


def main() -> None:
    """Open the database once, which migrates it, and print where its tables stand."""
    database = Database.of(resolve())
    try:
        with database.begin() as connection:
            (revision,) = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars()
    finally:
        database.close()
    print(f"{database.engine.url.render_as_string()}: its tables are at revision {revision}")


if __name__ == "__main__":
    try:
        main()
    except PneumoniaError as error:
        sys.exit(f"migrate: {error}")
