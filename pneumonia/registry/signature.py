"""Sign the folder that holds a version's manifest, and verify it, with the library model-signing.

The library is imported where it is used: what never asks for a signature runs without it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumonia.config.service import SigningConfig
from pneumonia.errors import ConfigError, PneumoniaError
from pneumonia.records.signature import MANIFEST_FILE, SIGNATURE_FILE

if TYPE_CHECKING:
    from model_signing import hashing

PASSWORD = "PNEUMONIA_SIGNING_PASSWORD"  # noqa: S105 - the variable's name
"""Environment variable with the private key's password."""
PRIVATE, PUBLIC = "signing-key.pem", "signing-key.pub.pem"
"""Files of a key pair."""


class SignatureRefused(PneumoniaError):
    """A version whose signature is demanded and does not verify."""


def demanded(signing: SigningConfig) -> bool:
    """Return whether the configuration names whose signature every version must carry."""
    return bool(signing.public_key) or signing.sigstore


def can_sign(signing: SigningConfig) -> bool:
    """Return whether the configuration names what to sign with."""
    return bool(signing.private_key) or signing.sigstore


def sign_folder(folder: Path, signing: SigningConfig) -> Path:
    """Sign a folder that holds a manifest, and return the signature's file in it.

    Raises:
        ConfigError: the key cannot be used, or its password is wrong.
        PneumoniaError: the library is missing, or sigstore has failed.
    """
    config = _library().signing.Config().set_hashing_config(_hashing())
    if signing.sigstore:
        config.use_sigstore_signer(use_ambient_credentials=True, oidc_issuer=signing.issuer or None)
    else:
        _use_private_key(config, Path(signing.private_key))
    target = folder / SIGNATURE_FILE
    try:
        config.sign(folder, target)
    except Exception as error:  # of sigstore's services, each in its own way
        if not signing.sigstore:
            raise
        raise PneumoniaError(
            f"{folder}: sigstore could not sign it ({_words(error)}); it needs a network and an OpenID token, or sign "
            "with a key: signing.private_key"
        ) from error
    return target


def check_signature(folder: Path, signing: SigningConfig) -> None:
    """Check that the signature of a folder was made by whom the configuration names, and is of what the folder holds.

    Raises:
        SignatureRefused: it was not; the message says what is wrong, without the version's name.
        ConfigError: the public key cannot be used, or sigstore's identity is not named.
    """
    if not (folder / MANIFEST_FILE).is_file():
        raise SignatureRefused("it has no manifest")
    if not (folder / SIGNATURE_FILE).is_file():
        raise SignatureRefused("it is not signed")
    config = _library().verifying.Config()
    if signing.sigstore:
        _use_identity(config, signing)
    else:
        _use_public_key(config, Path(signing.public_key))
    try:
        config.verify(folder, folder / SIGNATURE_FILE)
    except Exception as error:  # whatever a forged signature raises, it does not verify
        raise SignatureRefused(_why(error)) from error


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Make a key pair for signatures, ECDSA on P-256: the private key's file is readable by its owner alone.

    The private key is encrypted where `PASSWORD` is set.

    Returns:
        The files of the private and the public key.

    Raises:
        ConfigError: there is a key already, or the folder cannot be written.
    """
    _library()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, password = ec.generate_private_key(ec.SECP256R1()), os.environ.get(PASSWORD, "")
    closed = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, closed)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    files = folder / PRIVATE, folder / PUBLIC
    if there := [path for path in files if path.exists()]:
        raise ConfigError(f"{there[0]}: there is a key already, which is not overwritten; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content, mode in ((files[0], private, 0o600), (files[1], public, 0o644)):
            path.touch(mode, exist_ok=False)
            path.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{folder}: no key can be written there ({error.strerror}); choose another folder") from None
    return files


def _library() -> Any:
    try:
        import model_signing
        from model_signing import signing, verifying  # noqa: F401 - submodules that are used by their attribute
    except ImportError as error:
        raise PneumoniaError(
            f"the library model-signing, which signs and verifies, is missing here ({error.name}); install it: "
            "pip install 'pneumonia[serving]', or 'pneumonia[training]'"
        ) from error
    return model_signing


def _hashing() -> hashing.Config:
    from model_signing import hashing

    made: hashing.Config = hashing.Config()  # type: ignore[no-untyped-call]
    return made.use_file_serialization().set_ignored_paths(paths=[SIGNATURE_FILE])


def _use_private_key(config: Any, path: Path) -> None:
    password = os.environ.get(PASSWORD, "").encode() or None
    try:
        # the library's type is str, and what it passes the password to wants bytes
        config.use_elliptic_key_signer(private_key=path, password=password)
    except OSError as error:
        raise ConfigError(
            f"signing.private_key={path}: cannot be read ({error.strerror}); make one: pneumonia keys"
        ) from None
    except TypeError:
        words = "is not encrypted, but a password is set" if password else "is encrypted, and its password is not set"
        raise ConfigError(f"signing.private_key={path}: {words}; set or unset {PASSWORD}") from None
    except ValueError as error:
        raise ConfigError(
            f"signing.private_key={path}: cannot be used ({_words(error)}); a PEM file of an elliptic curve's private "
            f"key is needed, and its password in {PASSWORD}"
        ) from None


def _use_public_key(config: Any, path: Path) -> None:
    try:
        config.use_elliptic_key_verifier(public_key=path)
    except OSError as error:
        raise ConfigError(
            f"signing.public_key={path}: cannot be read ({error.strerror}); correct the setting"
        ) from None
    except (ValueError, AttributeError) as error:
        raise ConfigError(
            f"signing.public_key={path}: is no elliptic curve's public key in PEM format ({_words(error)})"
        ) from None


def _use_identity(config: Any, signing: SigningConfig) -> None:
    if not (signing.identity and signing.issuer):
        raise ConfigError("signing.sigstore: name who must have signed: signing.identity and signing.issuer")
    config.use_sigstore_verifier(identity=signing.identity, oidc_issuer=signing.issuer)


def _why(error: Exception) -> str:
    """Return what is wrong with a signature, in words; the library's own say it by the way, or not at all."""
    words = _words(error)
    if "Key mismatch" in words:
        return "it was signed with another key than the configured one"
    if "Signature mismatch" in words:
        return "its manifest is not the one that was signed"
    if type(error).__name__ == "InvalidSignature":
        return "its signature is not of this content"
    return f"its signature cannot be verified ({words})"


def _words(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__
