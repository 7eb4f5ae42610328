"""Write the software bill of materials: everything installed, the model and its data, as CycloneDX 1.6.

The installed packages are found by CycloneDX's own tool, with their licences and dependencies. It adds no hash, since
an installed package is no file any more, and its library has no model card yet (CycloneDX 1.6, "ML-BOM"): both are
added here, and the file is held against CycloneDX's schema in the tests.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pneumonia
from pneumonia.errors import DataError
from pneumonia.evidence.machine import LOCK, PROJECT
from pneumonia.evidence.model_component import DATA, MODEL, data_component, model_component
from pneumonia.records.dossier import Dossier, SbomSummary
from pneumonia.timing import timed

SPECIFICATION = "1.6"
SCAN_SECONDS = 120
PROPERTY = "pneumonia:"
"""Start of the names of this project's own properties."""
OF_RECORD = "of the files that its RECORD lists, each with its sha256, as they were installed"
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^ \\;\n]+)((?:.*\\\n\s+--hash=sha256:[0-9a-f]{64})*)", re.MULTILINE)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_ASIDE = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of a package's metadata that say how it came here, not what it is."""
Part = dict[str, Any]


@timed("list of packages")
def bill_of_materials(dossier: Dossier) -> Part:
    """Return the document; equal apart from timestamp and serial number for an equal environment and model.

    Args:
        dossier: of the model, without its own summary of this document.

    Raises:
        DataError: CycloneDX's tool is not installed, or fails.
    """
    found = installed()
    own = next((part for part in found["components"] if _normal(part["name"]) == "pneumonia"), None)
    packages = [part for part in found["components"] if part is not own]
    pins = _pins(PROJECT / LOCK)
    hashes = {_normal(each.name): digest for each in distributions() if (digest := record_digest(each)) is not None}
    for part in packages:
        _complete(part, hashes.get(_normal(part["name"])), pins.get(_normal(part["name"])))
    root = _root(own, dossier)
    edges = [each for each in found.get("dependencies", []) if each["ref"] != root["bom-ref"]]
    depends: list[str] = next(
        (each.get("dependsOn", []) for each in found["dependencies"] if each["ref"] == root["bom-ref"]), []
    )
    edges += [{"ref": root["bom-ref"], "dependsOn": sorted({*depends, MODEL})}, {"ref": MODEL, "dependsOn": [DATA]}]
    content: Part = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {"tools": found["metadata"]["tools"], "component": root, "properties": _locks(dossier)},
        "components": [model_component(dossier), data_component(dossier), *packages],
        "dependencies": [*edges, {"ref": DATA}],
    }
    text = json.dumps(content, sort_keys=True)
    content["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{dossier.made_at} {text}')}"
    content["metadata"]["timestamp"] = dossier.made_at
    return content


def summary(document: Mapping[str, Any], sha256: str) -> SbomSummary:
    """Count what a document lists; packages alone, without the model and its data."""
    packages = [part for part in document["components"] if part["type"] == "library"]
    licences = Counter(licence for part in packages for licence in _licences(part))
    return SbomSummary(
        sha256=sha256,
        specification=f"CycloneDX {document['specVersion']}",
        packages=len(packages),
        hashed=sum("hashes" in part for part in packages),
        licences=dict(sorted(licences.items(), key=lambda each: (-each[1], each[0]))),
        without_licence=tuple(part["name"] for part in packages if not _licences(part)),
    )


def installed() -> Part:
    """Return CycloneDX's document of the packages of this interpreter.

    Raises:
        DataError: the tool is not installed, or fails.
    """
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--sv", SPECIFICATION, "--of", "JSON"]
    options = ["--no-validate", "--output-reproducible"]  # the schema takes half a minute for 300 packages
    try:
        done = subprocess.run([*command, *options], capture_output=True, check=True, timeout=SCAN_SECONDS)
        found: Part = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        last = next(iter(error.stderr.decode(errors="replace").strip().splitlines()[-1:]), "no message")
        raise DataError(
            f"the installed packages cannot be listed ({last}); install the tool: pip install cyclonedx-bom"
        ) from error
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise DataError(f"the installed packages cannot be listed ({error}); run the same command again") from error
    return found


def record_digest(package: Distribution) -> str | None:
    """Return the sha256, in hex, of what a package has installed: names and digests of its files, sorted.

    Compiled Python, scripts outside the package's folder and the notes on how it came here are left out, so that one
    wheel has one digest on every machine. None where it has no such list.
    """
    text = package.read_text("RECORD")
    if not text:
        return None
    rows = (line.rsplit(",", 2) for line in text.splitlines())
    kept = sorted(f"{row[0]},{row[1]}" for row in rows if len(row) == 3 and row[1] and _is_own(row[0]))
    return hashlib.sha256("\n".join(kept).encode()).hexdigest() if kept else None


def _is_own(name: str) -> bool:
    return not name.startswith(("../", "/")) and not name.endswith(".pyc") and Path(name).name not in _ASIDE


def _complete(part: Part, digest: str | None, pin: tuple[str, list[str]] | None) -> None:
    """Add a package's hash and what the lock says of it; remove addresses of this machine's folders."""
    references = [each for each in part.pop("externalReferences", []) if not each["url"].startswith("file:")]
    if references:
        part["externalReferences"] = references
    notes = part.setdefault("properties", [])
    if digest is not None:
        part["hashes"] = [{"alg": "SHA-256", "content": digest}]
        notes.append(_note("hash", OF_RECORD))
    else:
        notes.append(_note("hash", "none: it was installed without a list of its files"))
    if pin is None:
        notes.append(_note("lock", f"not in {LOCK}"))
    elif pin[0] != part["version"].partition("+")[0] and pin[0] != part["version"]:
        notes.append(_note("lock", f"{LOCK} pins {pin[0]}"))
    else:
        notes.append(_note("lock", f"{LOCK} pins this version"))
        if pin[1]:
            notes.append(_note("lock:sha256", " ".join(pin[1])))


def _root(own: Part | None, dossier: Dossier) -> Part:
    commit = dossier.environment.commit if dossier.environment else None
    return {
        "type": "application",
        "bom-ref": own["bom-ref"] if own else "pneumonia",
        "name": "pneumonia",
        "version": pneumonia.__version__,
        "description": "Trains, validates and serves the model; not a medical device",
        "licenses": [{"license": {"id": "MIT"}}],
        "properties": [_note("commit", commit or "not known")],
    }


def _locks(dossier: Dossier) -> list[Part]:
    locks = dossier.environment.locks if dossier.environment else ()
    return [_note(f"lock:{each.path}:sha256", each.sha256) for each in locks]


def _note(name: str, value: str) -> Part:
    return {"name": f"{PROPERTY}{name}", "value": value}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _pins(lock: Path) -> dict[str, tuple[str, list[str]]]:
    """Return each package's pinned version and the sha256 of its published files; nothing where there is no lock."""
    if not lock.is_file():
        return {}
    found = _PIN.findall(lock.read_text(encoding="utf-8"))
    return {_normal(name): (pinned, _HASH.findall(hashes)) for name, pinned, hashes in found}


def _licences(part: Mapping[str, Any]) -> Iterable[str]:
    for each in part.get("licenses", []):
        named = each.get("license", {})
        yield each.get("expression") or named.get("id") or named.get("name", "")
