"""The commands ``keys`` and ``sign``: make a key pair, and sign a registered version by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pneumonia.cli.common import (
    ConfigFile,
    Json,
    Name,
    Number,
    Settings,
    address_of,
    complain,
    emit,
    emit_json,
    path_of,
    resolve_config,
    working,
)


def keys(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", parser=path_of, help="Folder for the key pair")],
    as_json: Json = False,
) -> None:
    """Make the key pair that versions are signed and verified with: ECDSA on P-256, in PEM files.

    A key that is there is not overwritten. The private key is encrypted where PNEUMONIA_SIGNING_PASSWORD is set.

    Example: `pneumonia keys --out keys`
    """
    with working():
        from pneumonia.registry.signature import make_keys

        private, public = make_keys(out)
    if as_json:
        emit_json({"private_key": str(private), "public_key": str(public)})
    else:
        emit(f"private key (keep it where the pipeline runs): signing.private_key={private}")
        emit(f"public key (give it to whoever serves or verifies): signing.public_key={public}")


def sign(
    version: Number,
    name: Name = None,
    as_json: Json = False,
    settings: Settings = None,
    file: ConfigFile = None,
) -> None:
    """Sign a registered version that the pipeline has not signed, or that was signed with another key.

    Every file is held against the list that is signed; a version of an earlier release gets its list now.

    Example: `pneumonia sign 3 --set signing.private_key=keys/signing-key.pem`
    """
    config = resolve_config(file, settings, any_model=True)
    with working():
        from pneumonia.inference.version_export import find_version
        from pneumonia.registry.mirroring import update_mirror
        from pneumonia.registry.signing import sign_version

        uri, found = find_version(config, address_of(version, name))
        done = sign_version(uri, found, config.signing)
        update_mirror(uri, Path(config.work).resolve(), found.name)
    if as_json:
        emit_json({"version": found.uri, **done.model_dump(mode="json")})
    else:
        emit(f"{found.uri}: signed, {len(done.manifest.files)} files, manifest {done.digest[:12]}")
        complain("a server that has refused it tries again within an hour; to serve it at once, start the server anew")
