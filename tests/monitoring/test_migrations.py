"""The migrations make the tables that the code uses, and can be taken back."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pneumonia.monitoring.database import Database
from pneumonia.monitoring.tables import metadata
from pneumonia.tracking.database import database_uri


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    database = Database(database_uri(tmp_path / "events.db"))
    with database.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert set(sa.inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}
