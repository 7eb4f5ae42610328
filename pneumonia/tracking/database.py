"""The SQLite database of a work folder: its URI, and whether it can be used."""

from __future__ import annotations

import contextlib
import importlib.util
import sqlite3
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from urllib.parse import unquote, urlsplit

from pneumonia.errors import worth_retrying
from pneumonia.files import is_regular_file
from pneumonia.tracking.health import Problem

SCHEME = "sqlite:///"
LOCK_SECONDS = 5.0
"""How long another process may hold the database before it counts as locked."""
_ANOTHER = "choose another with --set work=DIR or --set tracking.uri=sqlite:////DIR/mlflow.db"


def database_uri(path: Path) -> str:
    """Return the URI of a database; percent signs and question marks, which mean something in a URI, are encoded."""
    return SCHEME + str(path).replace("%", "%25").replace("?", "%3F")


def database_path(uri: str) -> Path:
    """Return the path of the database that SQLAlchemy opens for a URI."""
    return Path(unquote(uri.removeprefix(SCHEME).partition("?")[0]))


@contextlib.contextmanager
def no_stray_folders(uri: str) -> Iterator[None]:
    """Remove the empty folders that MLflow makes of an encoded name, which it takes as it stands, in the block."""
    literal = Path(uri.removeprefix(SCHEME)).parent
    strays: list[Path] = []
    if uri.startswith(SCHEME) and literal != database_path(uri).parent:
        strays = [folder for folder in (literal, *literal.parents) if not folder.exists()]
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # another process uses one, or none was made
            for folder in strays:
                folder.rmdir()


def sqlite_problem(path: Path, *, writing: bool = True) -> Problem | None:
    """Describe the problem of an SQLite database at `path`; None where it can be used, or created.

    Args:
        path: the file; without it, its folder must be one that can be written.
        writing: it is to be written; otherwise a database that can only be read is none.
    """
    there = is_regular_file(path)
    try:
        if writing or not there:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path.parent):  # permissions do not show a read-only mount
                pass
        if not there:
            return None
        with path.open("r+b" if writing else "rb") as file:
            if file.read(16) not in (b"", b"SQLite format 3\x00"):
                return Problem("is not an SQLite database; correct tracking.uri, or move the file away", permanent=True)
    except OSError as error:
        doing = "written" if writing or not there else "read"
        return Problem(
            f"the tracking database cannot be {doing} ({error.strerror}); make the folder writable, or {_ANOTHER}",
            permanent=not worth_retrying(error),
        )
    return _opened_problem(path, writing=writing)


def _opened_problem(path: Path, *, writing: bool) -> Problem | None:
    address = f"{path.absolute().as_uri()}?mode={'rw' if writing else 'ro'}"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS)) as database:
            if writing:
                database.execute("BEGIN IMMEDIATE")  # what a writer does first; nothing is written
                database.execute("ROLLBACK")
            schema = _schema(database)
    except sqlite3.DatabaseError as error:
        return _described(error)
    if schema is None or schema in _known_schemas():
        return None
    return Problem(
        f"the tracking database was made by another version of MLflow (its schema is {schema}), most likely a newer "
        f"one than the installed {version('mlflow')}; install the version that made it, or {_ANOTHER}",
        permanent=True,
    )


def _schema(database: sqlite3.Connection) -> str | None:
    """Return the revision of MLflow's schema; None in a database without tables."""
    found = database.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
    row = database.execute("SELECT version_num FROM alembic_version").fetchone() if found else None
    return str(row[0]) if row else None


def _known_schemas() -> set[str]:
    """Return the revisions that the installed MLflow can bring a database from, without importing it."""
    spec = importlib.util.find_spec("mlflow")
    folder = Path(str(spec.origin)).parent if spec is not None else Path()
    return {file.name.partition("_")[0] for file in folder.glob("store/db_migrations/versions/*.py")}


def _described(error: sqlite3.DatabaseError) -> Problem:
    if "locked" in str(error) or "busy" in str(error):
        return Problem(
            f"the tracking database is locked by another process for more than {LOCK_SECONDS:.0f} s; wait for it or "
            "end it, then run the same command again (fuser names the processes that have a file open)"
        )
    return Problem(
        f"the tracking database cannot be used ({error}); restore it from a backup, or move it away and run again",
        permanent=True,
    )


def missing_files(root: str, uri: str) -> str | None:
    """Return why a database's files are not where it seeks them, and the remedy; None where they may be.

    Args:
        root: the URI of the folder in which an experiment stores its files.
        uri: of the database.
    """
    if not root.startswith("file:") or not uri.startswith(SCHEME):
        return None
    folder, work = Path(unquote(urlsplit(root).path)), database_path(uri).parent
    if folder.exists():
        return None
    moved = folder.parent != work and (work / folder.name).exists()
    link = f"ln -s {quote(str(work))} {quote(str(folder.parent))}"
    remedy = (
        f"the work folder was moved: move it back, or leave a link there: {link}"
        if moved
        else "no run has stored a file yet, or they were removed: bring that folder back, for instance from a backup, "
        "or train again in a new work folder (--set work=DIR)"
    )
    return f"the database seeks its files in {folder}, which is not there; {remedy}"


def roots_elsewhere(uri: str) -> list[str]:
    """Return the URIs of the folders, other than its own, in which a database's experiments store their files."""
    path = database_path(uri)
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        if _schema(database) is None:
            return []
        rows = database.execute("SELECT artifact_location FROM experiments WHERE lifecycle_stage = 'active'")
        roots = [str(location) for (location,) in rows if location]
    return [root for root in roots if Path(unquote(urlsplit(root).path)).parent != path.parent]
