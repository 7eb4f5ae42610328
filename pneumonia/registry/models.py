"""Find the versions of registered models, and read who is champion and how that came.

A version is registered by `pneumonia.registry.registration`, and the champion is moved by `pneumonia.registry.moves`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from pneumonia.credentials import redacted
from pneumonia.errors import PneumoniaError
from pneumonia.records.model import ModelRecord
from pneumonia.registry import ledger_run
from pneumonia.registry.ledger import Move
from pneumonia.tracking.client import mlflow_client, store_is_new, translated_errors, with_retries

if TYPE_CHECKING:
    from types import SimpleNamespace

    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from pneumonia.registry.rest import RegistryClient

CHAMPION, PREVIOUS = "champion", "previous"
APPLIED = ledger_run.APPLIED
WITHDRAWN = "withdrawn"
"""Tag of a version that a rollback has left: who left it, when and why."""
EXPORT = "export_digest"
"""Tag of a version: the digest of its exported model's record."""
MANIFEST = "manifest_digest"
"""Tag of a version, and of its run: the digest of the list of its files, which is what is signed."""
PHANTOM_SUFFIX = "-phantom"


class Version(BaseModel):
    """A version of a registered model.

    Attributes:
        name: of the registered model.
        version: its number.
        run_id: the run that made it.
        weights_digest: sha256 of the weights in hex; empty where it was not registered by this project.
        uri: ``models:/name/3``.
        aliases: sorted.
        phantom: trained on phantoms.
        model_digest: of the weights and how they are used; empty in versions of earlier releases.
        withdrawn: who withdrew it, when and why; empty where nobody did.
        export_digest: of the exported model's record; empty where it was not exported.
        manifest_digest: of the list of its files; empty in versions of earlier releases.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    run_id: str
    weights_digest: str
    uri: str
    aliases: list[str]
    phantom: bool
    model_digest: str = ""
    withdrawn: str = ""
    export_digest: str = ""
    manifest_digest: str = ""

    def is_model(self, record: ModelRecord) -> bool:
        """Return whether this is the model that a record describes; by the weights alone in earlier releases."""
        if self.model_digest:
            return self.model_digest == record.model_digest()
        return self.weights_digest == record.weights_digest


def champion(uri: str, name: str) -> Version | None:
    """Return the version that is champion of `name`; None where there is none yet.

    It is the one with the alias, unless a move was cut short between its entry in the ledger and the alias: then it is
    the ledger's, so that a version that was withdrawn is used by nobody.

    Raises:
        PneumoniaError: an entry of the ledger was damaged.
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return None
    client = mlflow_client(uri)
    return with_retries(uri, f"look up the champion of {name}", lambda: champion_of(client, name))


def champion_of(client: RegistryClient, name: str) -> Version | None:
    """Return the version that is champion of `name`, as `champion` does; errors are the client's own."""
    model = _model(client, name)
    if model is None:
        return None
    tags = dict(model.tags)
    moves = ledger_run.read(client, name, tags).moves
    # the versions last: their aliases are then not older than the ledger
    known = versions_of(client, name)
    applied = int(tags.get(APPLIED, ledger_run.earlier_moves(tags)))
    if len(moves) > applied:
        return next((version for version in known if version.version == moves[-1].to_version), None)
    return next((version for version in known if CHAMPION in version.aliases), None)


def champions(uri: str) -> list[Version]:
    """Return the champions of all names.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    return [held for name in names(uri) if (held := champion(uri, name)) is not None]


def names(uri: str) -> list[str]:
    """Return the names of all registered models, sorted.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return []
    client = mlflow_client(uri)
    with translated_errors(uri, "list the models"):
        return sorted(model.name for model in client.search_registered_models(max_results=1000))


def get(uri: str, name: str, version_or_alias: str, *, damaged: bool = False) -> Version:
    """Return the version with this number or alias.

    Args:
        uri: of the registry.
        name: of the registered model.
        version_or_alias: which one.
        damaged: to be looked at only: the champion is then the version with the alias, whatever the ledger says.

    Raises:
        LedgerDamaged: the champion is asked for, and the ledger is not as it was written.
        PneumoniaError: there is none; the message lists the versions that exist.
        TrackingError: the registry cannot be reached.
    """
    known = versions(uri, name)
    if version_or_alias == CHAMPION and not damaged and (held := champion(uri, name)) is not None:
        return held
    for version in known:
        if version_or_alias == version.version or version_or_alias in version.aliases:
            return version
    raise PneumoniaError(
        f"{name}: there is no version or alias {version_or_alias!r}; there are: {listed(known)} (in {redacted(uri)})"
    )


def versions(uri: str, name: str) -> list[Version]:
    """Return all versions of `name`, oldest first; empty where the name is unknown.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return []
    client = mlflow_client(uri)
    with translated_errors(uri, f"list the versions of {name}"):
        return versions_of(client, name)


def other_champions(uri: str) -> str:
    """Return, as the end of a message, which models have a champion or how to get one."""
    names = ", ".join(version.name for version in champions(uri))
    return f"; models with a champion: {names}" if names else "; train one with python flows/pipeline.py"


def history(uri: str, name: str) -> list[Move]:
    """Return the ledger of `name`, oldest move first; empty where there is none.

    Raises:
        PneumoniaError: an entry was damaged.
        TrackingError: the registry cannot be reached.
    """
    if store_is_new(uri):
        return []
    client = mlflow_client(uri)
    with translated_errors(uri, f"read the ledger of {name}"):
        model = _model(client, name)
        return [] if model is None else ledger_run.read(client, name, model.tags).moves


def examine_ledger(uri: str, name: str) -> ledger_run.Examined:
    """Return what can still be said of the ledger of `name`, damaged or not.

    Raises:
        PneumoniaError: the ledger was deleted.
        TrackingError: the registry cannot be reached.
    """
    empty = ledger_run.Examined([], [], 0, None, {})
    if store_is_new(uri):
        return empty
    client = mlflow_client(uri)
    with translated_errors(uri, f"read the ledger of {name}"):
        model = _model(client, name)
        if model is None:
            return empty
        found = ledger_run.examine(client, name, model.tags)
    if not found.entries and (held := aliases(model).get(CHAMPION)) is not None:
        words = f"version {held} has the alias {CHAMPION}, and the ledger is empty"
        return found._replace(problems=[*found.problems, words])
    return found


def _model(client: RegistryClient, name: str) -> RegisteredModel | SimpleNamespace | None:
    try:
        return client.get_registered_model(name)
    except Exception as error:
        # MLflow's exception or `pneumonia.registry.rest.RestError`; both have its code
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def aliases(model: RegisteredModel | SimpleNamespace) -> dict[str, str]:
    """Return the version, as text, of each alias."""
    return {alias: str(version) for alias, version in model.aliases.items()}


def listed(known: list[Version]) -> str:
    """Return the versions for a message, each with its aliases and whether it is withdrawn."""
    texts = [
        version.version
        + "".join(f" ({label})" for label in [*version.aliases, *(["withdrawn"] if version.withdrawn else [])])
        for version in known
    ]
    return ", ".join(texts) or "none"


def versions_of(client: RegistryClient, name: str) -> list[Version]:
    """Return all versions of `name`, oldest first; errors are MLflow's own."""
    model = _model(client, name)
    if model is None:
        return []
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [version_of(entry, model) for entry in page]
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def tags_of(client: RegistryClient, version: Version) -> dict[str, str]:
    """Return the tags of a version; errors are the client's own."""
    chosen = f"name = '{version.name}' and version_number = '{version.version}'"
    found = [entry for entry in client.search_model_versions(chosen) if str(entry.version) == version.version]
    return dict(found[0].tags) if found else {}


def tags(uri: str, version: Version) -> dict[str, str]:
    """Return the tags of a version.

    Raises:
        TrackingError: the registry cannot be reached.
    """
    client = mlflow_client(uri)
    return with_retries(uri, f"read the tags of {version.uri}", lambda: tags_of(client, version))


def version_of(entry: ModelVersion | SimpleNamespace, model: RegisteredModel | SimpleNamespace) -> Version:
    """Return a version of MLflow's as this project knows it."""
    number = str(entry.version)
    return Version(
        name=entry.name,
        version=number,
        run_id=entry.run_id or "",
        weights_digest=entry.tags.get("weights_digest", ""),
        uri=f"models:/{entry.name}/{number}",
        aliases=sorted(alias for alias, version in aliases(model).items() if version == number),
        phantom=entry.tags.get("phantom") == "true",
        model_digest=entry.tags.get("model_digest", ""),
        withdrawn=entry.tags.get(WITHDRAWN, ""),
        export_digest=entry.tags.get(EXPORT, ""),
        manifest_digest=entry.tags.get(MANIFEST, ""),
    )
