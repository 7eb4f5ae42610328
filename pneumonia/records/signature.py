"""The documents of signatures: what is signed of a version, and the head of a list whose entries are chained."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import Field

from pneumonia.records.base import Document

SIGNATURE_FOLDER = "signature"
"""Path of the run's artifact folder that holds the manifest and its signature."""
MANIFEST_FILE, SIGNATURE_FILE = "manifest.json", "manifest.sig"


class ListHead(Document):
    """The head of a list whose entries are chained: how many there are, and the sha256 of the last one's text."""

    entries: int = Field(ge=0)
    digest: str

    def __str__(self) -> str:
        """Return the head as a tag holds it."""
        return f"{self.entries}:{self.digest}"

    @classmethod
    def parse(cls, text: str) -> ListHead:
        """Read a tag's text.

        Raises:
            ValueError: it is no head.
        """
        number, _, digest = text.partition(":")
        return cls(entries=int(number), digest=digest)


class Manifest(Document):
    """What a signature is about: the files of a version by digest, and the lists as they were then.

    Attributes:
        name: registered model.
        run_id: the run whose files these are; empty in manifests of earlier releases, which are not accepted where a
            signature is demanded.
        model_digest, weights_digest, data_digest: of the model's record.
        git_commit: of the code that trained; None where it is not known.
        created: ISO 8601 in UTC.
        files: sha256, in hex, of each file, by its path in the run.
        ledger, openings: heads of the ledger of `name` and of the register of openings, when this was written; None
            where there was none.
    """

    format: Literal[1] = 1
    name: str
    run_id: str = ""
    model_digest: str
    weights_digest: str
    data_digest: str
    git_commit: str | None
    created: str
    files: dict[str, str]
    ledger: ListHead | None = None
    openings: ListHead | None = None

    def content(self) -> bytes:
        """Return the bytes of its file, the same for equal manifests."""
        ordered = self.model_copy(update={"files": dict(sorted(self.files.items()))})
        # one of an earlier release keeps its bytes, of which the digest was registered
        left_out = set() if self.run_id else {"run_id"}
        return f"{ordered.model_dump_json(indent=2, exclude=left_out)}\n".encode()

    def digest(self) -> str:
        """Return the sha256, in hex, of its file."""
        return hashlib.sha256(self.content()).hexdigest()


class SignedManifest(Document):
    """What signing a version has made.

    Attributes:
        manifest: the files that it lists.
        digest: of the manifest's file.
        signed: there is a signature; otherwise the configuration names no key.
        folder: holds manifest and signature.
    """

    manifest: Manifest
    digest: str
    signed: bool
    folder: str
