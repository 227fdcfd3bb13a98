"""The signature of a model folder by OpenSSF model signing, for users who have the public key.

It covers what the model's digest covers: neither the card, which gets the scores, nor what is added where the model is
published.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from distillery_api.paths import SIGNATURE_FILE, STUDENT_PROMPT_FILE
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.student.model_digest import MODEL_CARD

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_NOT_SIGNED = (MODEL_CARD, STUDENT_PROMPT_FILE, SIGNATURE_FILE)


class UnusableKey(Exception):
    """The key cannot sign. The message never contains it."""


def sign(model: Path, key: str, signature: Path) -> bool:
    """Sign the files in the folder `model` with a private key in PEM, unless `signature` holds a signature of them by
    that key: each one is another, and the same student is to stay the same. Returns whether a signature was made.

    Raises UnusableKey, ImportError without the library, OSError, and UserError if the volume is full.
    """
    from model_signing import hashing, signing

    # A download in the cache of a hub is a folder of links.
    files = hashing.Config().set_ignored_paths(paths=_NOT_SIGNED).set_allow_symlinks(True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        key_file, made = folder / "key.pem", folder / SIGNATURE_FILE
        key_file.touch(mode=0o600)
        key_file.write_text(key, encoding="utf-8")
        public = folder / "public.pem"
        public.write_bytes(_public_key(key))
        if signature.exists() and _is_signed(model, signature, public):
            return False
        signing.Config().use_elliptic_key_signer(private_key=key_file).set_hashing_config(files).sign(model, made)
        write_atomically(signature, made.read_bytes(), mode=0o644)
    return True


def _is_signed(model: Path, signature: Path, public_key: Path) -> bool:
    from model_signing import verifying

    try:
        verifying.Config().use_elliptic_key_verifier(public_key=public_key).verify(model, signature)
    except (ValueError, OSError, KeyError):
        return False
    return True


def _public_key(key: str) -> bytes:
    """The public key in PEM. Raises UnusableKey."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except TypeError:
        raise UnusableKey("the key is encrypted; store it without a password") from None
    except ValueError:
        raise UnusableKey("this is no private key in PEM") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name not in _CURVES:
        raise UnusableKey("the key is not one of the curves P-256, P-384 and P-521")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public: bytes = private.public_key().public_bytes(serialization.Encoding.PEM, form)
    return public
