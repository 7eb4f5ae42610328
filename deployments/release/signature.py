"""Sign a release's SHA256SUMS with a key, and verify a release: the signature, and every file against its checksum.

signature.py sign dist --key keys/signing-key.pem            writes dist/SHA256SUMS.sig
signature.py verify dist --key keys/signing-key.pub.pem      ends with 1 where anything is wrong

The keys are those of `pneumonia keys`: ECDSA on P-256, in PEM; the private key's password is in
PNEUMONIA_SIGNING_PASSWORD, if it has one. The signature is over SHA-256 and in DER, so that OpenSSL verifies it too:
openssl dgst -sha256 -verify signing-key.pub.pem -signature SHA256SUMS.sig SHA256SUMS
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
BUNDLE = "SHA256SUMS.sigstore.json"
"""Cosign's signature of the same file, which the release workflow adds."""
PASSWORD = "PNEUMONIA_SIGNING_PASSWORD"  # noqa: S105 - the variable's name


def sign(folder: Path, key: Path) -> Path:
    """Sign a folder's checksums once every file fits them, and return the signature's file.

    Raises:
        ValueError: a file does not fit, or the key cannot be read as one.
        OSError: a file cannot be read.
        TypeError: the key is none of an elliptic curve; or it is encrypted without a password that is set, or a
            password is set without need.
    """
    if wrong := differing(folder):
        raise ValueError("; ".join(wrong))
    password = os.environ.get(PASSWORD, "").encode() or None
    private = serialization.load_pem_private_key(key.read_bytes(), password)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{key}: is no key of an elliptic curve; make one: pneumonia keys")
    target = folder / SIGNATURE
    target.write_bytes(private.sign((folder / SUMS).read_bytes(), ec.ECDSA(hashes.SHA256())))
    return target


def problems(folder: Path, key: Path) -> list[str]:
    """Return what is wrong with a release, in words; empty where the signature and every file are right.

    Raises:
        TypeError: the key is none of an elliptic curve.
        ValueError: it cannot be read as one.
        OSError: a file cannot be read.
    """
    public = serialization.load_pem_public_key(key.read_bytes())
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise TypeError(f"{key}: is no public key of an elliptic curve")
    if not (folder / SIGNATURE).is_file():
        return [f"{SIGNATURE}: is not there, so that nobody has signed this release"]
    try:
        public.verify((folder / SIGNATURE).read_bytes(), (folder / SUMS).read_bytes(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return [f"{SIGNATURE}: was not made with this key, or not of this {SUMS}"]
    return differing(folder)


def differing(folder: Path) -> list[str]:
    """Return which files differ from SHA256SUMS, are missing, or are not listed in it."""
    listed: dict[str, str] = {}
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  ([\w.+-]+)", line)
        if match is None:
            raise ValueError(f"{SUMS}: '{line}' is no checksum and the name of a file beside it")
        listed[match[2]] = match[1]
    there = {path.name for path in folder.iterdir()} - {SUMS, SIGNATURE, BUNDLE}
    wrong = [f"{name}: is not in {SUMS}" for name in sorted(there - set(listed))]
    for name, digest in listed.items():
        if name not in there:
            wrong.append(f"{name}: is missing")
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            wrong.append(f"{name}: is not the file that was released")
    return wrong


def main() -> int:
    """Sign or verify a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["sign", "verify"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", type=Path, required=True, metavar="PEM")
    chosen = parser.parse_args()
    try:
        if chosen.command == "sign":
            print(sign(chosen.folder, chosen.key))
            return 0
        wrong = problems(chosen.folder, chosen.key)
    except (OSError, ValueError, TypeError) as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(wrong) or f"{chosen.folder}: signed with this key, and every file is as it was released")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
