"""Check what DVC needs to bring the recorded data, and whether the data are the recorded ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pneumonia.cli.check import Check
from pneumonia.credentials import redacted
from pneumonia.data.dvc import RECORD, Record, compare, configuration, read_record
from pneumonia.errors import DataError
from pneumonia.files import is_folder

NAME, REMOTE = "data.dvc", "DVC remote"
COMPARED = 4 * 2**30
"""Size of recorded data up to which every file is compared, bytes: some ten seconds."""
ADD = "dvc remote add --local -d shared URL, dvc remote modify --local shared verify true, then dvc pull"
FETCH = "or pneumonia data fetch"


def examine_dvc(project: Path) -> Iterator[Check]:
    """Check the record, the data and the remote of a project's folder."""
    file = project / RECORD
    if not file.is_file():
        yield Check(name=NAME, status="ok", text="not in this folder, so no data version is recorded")
        return
    try:
        record = read_record(file)
        config = configuration(project)
    except DataError as error:
        yield Check(name=NAME, status="fail", text=str(error))
        return
    if record is not None:
        yield _data(record, config)
    yield _remote(project, config)


def _data(record: Record, config: Mapping[str, Any] | None) -> Check:
    if not is_folder(record.folder):
        remedy = f"dvc pull brings it; {FETCH}" if _default(config) else f"{ADD}; {FETCH}"
        return Check(name=NAME, status="warn", text=f"{record.folder} is not there yet", remedy=remedy)
    if record.size is not None and record.size > COMPARED:
        text = f"{record.size / 2**30:.0f} GiB, which only a run and pneumonia data verify compare"
        return Check(name=NAME, status="ok", text=text)
    found = compare(record)
    if found.same:
        return Check(name=NAME, status="ok", text=f"{record.folder}: {found}")
    remedy = "runs record no data version; to bring the recorded files back, see pneumonia data verify"
    return Check(name=NAME, status="warn", text=f"{record.folder}: {found}", remedy=remedy)


def _default(config: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the settings of the remote that dvc pull asks."""
    name = (config or {}).get("core", {}).get("remote")
    remotes = (config or {}).get("remote", {})
    return (str(name), dict(remotes[name])) if name in remotes else None


def _remote(project: Path, config: Mapping[str, Any] | None) -> Check:
    if config is None:
        remedy = "pip install 'pneumonia[versioning]', or make install"
        return Check(name=REMOTE, status="warn", text="DVC is not installed, so nothing is known of it", remedy=remedy)
    if (chosen := _default(config)) is None:
        others = ", ".join(config.get("remote", {}))
        if others:
            text, remedy = f"none is the default one; there are: {others}", "dvc remote default --local NAME"
        else:
            text, remedy = "none is configured", f"{ADD}; {FETCH}"
        return Check(name=REMOTE, status="warn", text=text, remedy=_with_scm(project, config, remedy))
    name, settings = chosen
    url = str(settings.get("url", ""))
    text, remedy = f"{name}: {redacted(url)}", ""
    if problem := _problem(url):
        text, remedy = f"{text} {problem[0]}", f"{problem[1]}: dvc remote modify --local {name} url URL"
    elif driver := _missing_driver(url):
        text, remedy = f"{text}: DVC has no driver for it here", f"pip install {driver}"
    elif not settings.get("verify"):
        text = f"{text}: what is damaged there is pulled as if it were the recorded data"
        remedy = f"dvc remote modify --local {name} verify true"
    remedy = _with_scm(project, config, remedy)
    return Check(name=REMOTE, status="warn" if remedy else "ok", text=text, remedy=remedy)


def _problem(url: str) -> tuple[str, str] | None:
    """Return what is wrong with a remote that is a folder, and what to do."""
    parts = urlsplit(url)
    if parts.scheme not in ("", "file"):
        return None  # another machine, which is not asked
    place = Path(unquote(parts.path)) if parts.scheme else Path(url)
    if not is_folder(place):
        return "is not there", "mount it, or name another"
    if not is_folder(place / "files" / "md5"):
        return "holds no files of DVC 3", "push there, or name another"
    return None


def _missing_driver(url: str) -> str | None:
    """Return the package that DVC needs for a URL, where it is not installed."""
    scheme = urlsplit(url).scheme
    kind = {"https": "http", "webdavs": "webdav", "azure": "azure"}.get(scheme, scheme)
    needed = kind in {"s3", "gs", "azure", "ssh", "http", "webdav", "oss", "gdrive", "hdfs"}
    return f"dvc-{kind}" if needed and importlib.util.find_spec(f"dvc_{kind}") is None else None


def _with_scm(project: Path, config: Mapping[str, Any], remedy: str) -> str:
    """Add what DVC needs where the project is no clone: outside a Git repository it refuses everything."""
    folder = project.resolve()
    if any((place / ".git").exists() for place in (folder, *folder.parents)) or config.get("core", {}).get("no_scm"):
        return remedy
    first = "dvc config --local core.no_scm true" if is_folder(project / ".dvc") else "dvc init --no-scm"
    return f"without Git, first: {first}" + (f"; then {remedy}" if remedy else "")
