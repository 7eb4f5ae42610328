"""Open the monitoring database: SQLite in a folder or PostgreSQL, brought to this release's tables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import alembic.command
import sqlalchemy as sa
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from pneumonia.config.schema import Config
from pneumonia.credentials import dereferenced, redacted
from pneumonia.errors import MonitoringError
from pneumonia.tracking.database import SCHEME, database_path, database_uri

VARIABLE = "MONITORING_DATABASE_URI"
FILE = "events.db"
MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_LOCK = 7_246_113
"""Number of PostgreSQL's lock under which one process migrates, while others wait."""
_BUSY_SECONDS = 30


def monitoring_folder(config: Config) -> Path:
    """Return the folder of the SQLite database, the spool and the images that are kept."""
    given = config.monitoring.folder
    return Path(Path(config.work) / "monitoring" if given == "auto" else given).resolve()


def database_address(config: Config, environment: Mapping[str, str] = os.environ) -> str:
    """Return the URI of the monitoring database, which may hold a password."""
    given = config.monitoring.database
    if given != "auto":
        return dereferenced(given, "monitoring.database")
    return environment.get(VARIABLE) or database_uri(monitoring_folder(config) / FILE)


class Database:
    """The monitoring database; every call opens a connection of its pool, and no more than it needs."""

    def __init__(self, address: str) -> None:
        """Name a database; nothing is opened before it is asked for.

        Raises:
            MonitoringError: the address is none of SQLite or PostgreSQL.
        """
        try:
            url = sa.make_url(address)
            if url.drivername == "postgresql":
                url = url.set(drivername="postgresql+psycopg2")
            self.engine = _engine(address, url)
        except ImportError as error:
            raise MonitoringError(
                f"monitoring.database: {error.name} is missing; pip install psycopg2-binary", permanent=True
            ) from None
        except SQLAlchemyError as error:
            raise MonitoringError(
                f"monitoring.database: {redacted(str(error))}; use sqlite:/// or postgresql://",
                permanent=True,
            ) from None
        self._migrated = False

    @classmethod
    def of(cls, config: Config) -> Database:
        """Name the database of a configuration."""
        return cls(database_address(config))

    @contextlib.contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """Open a transaction, the first time after the migrations; it is committed at the end.

        Raises:
            MonitoringError: the database is away, or does not do what is asked.
        """
        try:
            self._migrate()
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = _reason(error)
            damaged = "not a database" in reason
            remedy = "; move it away, or name another: monitoring.database" if damaged else ""
            raise MonitoringError(
                f"the monitoring database {self.engine.url.render_as_string()} cannot be used: {reason}{remedy}",
                permanent=damaged,
            ) from error

    def insert_ignoring(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """Return an insertion that leaves out rows which are there already, by any unique column."""
        make = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        return make(table).on_conflict_do_nothing()

    def insert_replacing(self, table: sa.Table, unique: tuple[str, ...]) -> sqlite.Insert | postgresql.Insert:
        """Return an insertion that replaces a row which has the same values in the unique columns."""
        make = postgresql.insert if self.engine.dialect.name == "postgresql" else sqlite.insert
        statement = make(table)
        others = {column.name for column in table.columns if not column.primary_key} - set(unique)
        return statement.on_conflict_do_update(
            index_elements=unique, set_={name: statement.excluded[name] for name in sorted(others)}
        )

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _migrate(self) -> None:
        if self._migrated:
            return
        with _one_at_a_time(self.engine) as connection:
            scripts = AlembicConfig()
            scripts.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            scripts.attributes["connection"] = connection
            there = MigrationContext.configure(connection).get_current_revision()
            known = ScriptDirectory.from_config(scripts)
            if there is not None and there not in {script.revision for script in known.walk_revisions()}:
                raise MonitoringError(
                    f"the monitoring database has the tables of a later release ({there}); upgrade this installation",
                    permanent=True,
                )
            if there != known.get_current_head():
                alembic.command.upgrade(scripts, "head")
        self._migrated = True


def _engine(address: str, url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "sqlite":
        path = database_path(address) if address.startswith(SCHEME) else None
        if path is None or str(path) in ("", ":memory:"):
            raise MonitoringError("monitoring.database: name a file: sqlite:////DIR/events.db", permanent=True)
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        return engine
    if url.get_backend_name() != "postgresql":
        raise MonitoringError(
            f"monitoring.database: {url.get_backend_name()} is not supported; use PostgreSQL or SQLite",
            permanent=True,
        )
    return sa.create_engine(url, pool_pre_ping=True, pool_size=4, connect_args={"connect_timeout": 5})


def _prepare_sqlite(connection: object, _: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")  # a reader does not wait for a writer
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


@contextlib.contextmanager
def _one_at_a_time(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction under a lock that holds other processes back."""
    if engine.dialect.name == "sqlite":
        path = Path(str(engine.url.database))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"), engine.begin() as connection:
                yield connection
        except OSError as error:
            raise MonitoringError(
                f"{path}: the monitoring database cannot be written ({error.strerror or error}); make the folder "
                "writable, or choose another with monitoring.folder"
            ) from error
        return
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
        yield connection


def _reason(error: SQLAlchemyError) -> str:
    cause = getattr(error, "orig", None) or error
    lines = str(cause).strip().splitlines()
    return redacted(lines[0] if lines else type(cause).__name__)
