"""Signatures of certificates, made and checked by the field's tool (OpenSSF model signing, the extra `sign`)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

SIGNATURE_SUFFIX = ".sig"


class SigningError(ValueError):
    """Nothing was signed, or the signature does not hold: file, what is wrong, what to do."""


def signature_of(path: Path) -> Path:
    """Where the signature of a file lies: `certificate.json.sig`."""
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def sign_file(path: Path, private_key: Path) -> Path:
    """Sign PATH with an elliptic-curve key in PEM; the signature's path. SigningError: key, tool or disk."""
    config = _tool("signing").Config()
    target = signature_of(path)
    try:
        config.use_elliptic_key_signer(private_key=private_key).sign(path, target)
    except Exception as error:  # whatever the tool and its libraries raise
        raise SigningError(f"{private_key}: {path.name} cannot be signed with it: {_words(error)}") from None
    return target


def check_key(private_key: Path) -> None:
    """SigningError unless the tool is there and takes the key: asked before hours of work whose result is signed."""
    config = _tool("signing").Config()
    try:
        config.use_elliptic_key_signer(private_key=private_key)
    except Exception as error:  # whatever the tool and its libraries raise
        raise SigningError(f"{private_key}: nothing can be signed with it: {_words(error)}") from None


def verify_file(path: Path, public_key: Path, signature: Path | None = None) -> None:
    """SigningError unless SIGNATURE (default: beside PATH) is one of these bytes by the owner of PUBLIC_KEY."""
    signature = signature or signature_of(path)
    if not signature.is_file():
        raise SigningError(f"{signature}: no signature there; sign with: aprqa report FOLDER --sign KEY")
    config = _tool("verifying").Config()
    try:
        config.use_elliptic_key_verifier(public_key=public_key).verify(path, signature)
    except Exception as error:  # whatever the tool and its libraries raise
        raise SigningError(f"{signature}: does not hold for {path.name}: {_words(error)}") from None


def _tool(name: str) -> Any:
    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise SigningError(f"signatures need the extra `sign` ({error}); pip install 'pytest-aprqa[sign]'") from None


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
