"""Find the champion and its exported files for those who use it: the one read-only reader of the registry.

Where there is an MLflow server, it is asked through its REST API; otherwise the mirror in the work folder is read,
which every promotion and rollback on this machine writes. Nothing of it loads MLflow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from pneumonia.config.schema import Config, RegistryConfig
from pneumonia.config.service import SigningConfig
from pneumonia.credentials import redacted
from pneumonia.errors import DataError, TrackingError
from pneumonia.records.evaluation import Metric
from pneumonia.records.export import EXPORT_FOLDER, EXPORT_RECORD, FILES
from pneumonia.records.signature import SIGNATURE_FOLDER
from pneumonia.registry import dossier_page, ledger, ledger_run, models, outside, signed
from pneumonia.registry.mirror import FOLDER, Champion, Mirror
from pneumonia.registry.rest import RestClient, RestError
from pneumonia.registry.signature import SignatureRefused, demanded
from pneumonia.registry.verdicts import VERDICT
from pneumonia.tracking import health
from pneumonia.tracking.client import address, tracking_uri

if TYPE_CHECKING:
    from pneumonia.registry.rest import RegistryClient


def names_to_serve(config: Config) -> list[str]:
    """Return the registered names whose champion is served, the first that has one; a name of one's own comes first."""
    if config.serving.model != "auto":
        return [config.serving.model.removeprefix("models:/").partition("@")[0]]
    real = RegistryConfig().name
    usual = [real, f"{real}-fast", f"{real}-phantom"]
    own = config.registry.name
    return usual if own in usual else [own, *usual]


def open_reader(config: Config) -> Reader:
    """Return a reader of the registry of the configuration."""
    uri = address(tracking_uri(config))
    return Reader(uri, Path(config.work).resolve(), names_to_serve(config), config.signing)


class Reader:
    """A reader of the champion of the first of several names that has one.

    Attributes:
        uri: of the registry.
        work: folder that holds the mirror.
        names: registered names, the preferred one first.
        signing: whose signature a champion's files must carry; by default nobody's.
    """

    def __init__(self, uri: str, work: Path, names: list[str], signing: SigningConfig | None = None) -> None:
        self.uri, self.work, self.names = uri, work, names
        self.signing = signing or SigningConfig()
        self._client = RestClient(uri) if uri.lower().startswith(("http://", "https://")) else None

    def champion(self) -> Champion | None:
        """Return the champion, as the registry says; None where no name has one.

        Raises:
            TrackingError: the registry cannot be asked now.
            DataError: the mirror's document is damaged.
        """
        if self._client is None:
            return self.mirrored()
        for name in self.names:
            with self._translated(f"look up the champion of {name}"):
                found = describe(self._client, name, self._client.load_json)
            if found is not None:
                return found
        return None

    def mirrored(self) -> Champion | None:
        """Return the champion that the mirror holds, without a request; None where no name has one.

        Raises:
            DataError: its document is damaged.
        """
        held = (Mirror(self.work, name).champion() for name in self.names)
        return next((found for found in held if found is not None), None)

    def folder(self, champion: Champion) -> Path:
        """Return the champion's verified files in the mirror, which is brought up to date.

        Raises:
            TrackingError: they have to be fetched, and the registry cannot be asked now.
            DataError: they are damaged, or others than were registered, or were never exported.
            SignatureRefused: a signature is demanded, and theirs does not verify.
        """
        if not champion.export_digest:
            raise DataError(
                f"models:/{champion.name}/{champion.version}: has no exported model; where torch is installed: "
                f"pneumonia export --model models:/{champion.name}/{champion.version}"
            )
        mirror = Mirror(self.work, champion.name)
        found = mirror.folder(champion, lambda place: self._fetch(champion, place))
        self._check_signature(champion, found)
        if mirror.champion() != champion:
            mirror.write(champion)
        return found

    def _fetch(self, champion: Champion, place: Path) -> None:
        if self._client is None:
            raise DataError(
                f"{self.work / FOLDER / champion.name}: the champion's files are missing or damaged; write them again: "
                f"pneumonia export --model models:/{champion.name}/{champion.version}"
            )
        with self._translated(f"fetch models:/{champion.name}/{champion.version}"):
            self._client.download(champion.run_id, f"{EXPORT_FOLDER}/{EXPORT_RECORD}", place / EXPORT_RECORD)
            listed = json.loads((place / EXPORT_RECORD).read_text(encoding="utf-8"))["files"]
            for name in FILES:
                if name in listed:
                    self._client.download(champion.run_id, f"{EXPORT_FOLDER}/{name}", place / name)

        self._fetch_signature(champion, place)
        self._fetch_dossier(champion, place)

    def _fetch_dossier(self, champion: Champion, folder: Path) -> None:
        """Bring the dossier's page beside the files, where the run has one."""
        if self._client is None:
            return
        with self._translated(f"fetch the dossier of models:/{champion.name}/{champion.version}"):
            content = self._client.load(champion.run_id, dossier_page.PAGE)
        if content is not None:
            dossier_page.put_beside(folder, content)

    def _check_signature(self, champion: Champion, folder: Path) -> None:
        """Refuse files without the demanded signature, once the registry was asked for one that was made since."""
        if not demanded(self.signing):
            return
        try:
            self._check(champion, folder)
        except SignatureRefused as error:
            if self._client is None:
                raise signed.refused(f"models:/{champion.name}/{champion.version}", error) from None
            try:
                self._fetch_signature(champion, folder)
                self._check(champion, folder)
            except SignatureRefused as again:
                raise signed.refused(f"models:/{champion.name}/{champion.version}", again) from None

    def _check(self, champion: Champion, folder: Path) -> None:
        signed.check_export(
            folder,
            self.signing,
            name=champion.name,
            run_id=champion.run_id,
            model_digest=champion.model_digest,
            manifest_digest=champion.manifest_digest,
        )

    def _fetch_signature(self, champion: Champion, folder: Path) -> None:
        """Bring the signature beside the files up to date with the run; a run of an earlier release has none."""
        if self._client is None:
            return
        contents: dict[str, bytes | None] = {}
        with self._translated(f"fetch the signature of models:/{champion.name}/{champion.version}"):
            for name in signed.FILES:
                contents[name] = self._client.load(champion.run_id, f"{SIGNATURE_FOLDER}/{name}")
        signed.put_beside(folder, contents)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except RestError as error:
            words = "the tracking server refuses the login" if error.status == 401 else str(error)
            raise TrackingError(
                f"{redacted(self.uri)}: could not {doing}: {words}",
                permanent=error.status < 500 and error.status != 429,
            ) from error
        except requests.RequestException as error:
            words = health.system_words(str(error)) or type(error).__name__
            raise TrackingError(f"{redacted(self.uri)}: could not {doing}: {words}") from error
        except (KeyError, ValueError, TypeError) as error:
            raise TrackingError(f"{redacted(self.uri)}: could not {doing}: the answer is not MLflow's") from error


def describe(client: RegistryClient, name: str, load: Callable[[str, str], Any]) -> Champion | None:
    """Return the champion of a name with what its card says; None where there is none.

    Args:
        client: MLflow's own or `RestClient`; errors are the client's own.
        name: registered name.
        load: returns a run's JSON file by the run's id and the file's path; None where there is no such file.
    """
    held = models.champion_of(client, name)
    if held is None:
        return None
    moves = ledger_run.read(client, name, client.get_registered_model(name).tags).moves
    line = ledger.standing(moves).line
    verdict = load(held.run_id, VERDICT) or {}
    return Champion(
        name=name,
        version=held.version,
        run_id=held.run_id,
        phantom=held.phantom,
        model_digest=held.model_digest,
        export_digest=held.export_digest,
        manifest_digest=held.manifest_digest,
        metrics={key: Metric.model_validate(value) for key, value in verdict.get("metrics", {}).items()},
        measured_on=verdict.get("measured_on", ""),
        outside=tuple(outside.of_tags(models.tags_of(client, held))),
        move=moves[-1] if moves else None,
        previous=line[-2] if len(line) > 1 else None,
    )
