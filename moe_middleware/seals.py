"""Small messages that travel through a browser: nobody reads or changes them. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from hashlib import blake2b, sha256
from hmac import compare_digest

from itsdangerous import Signer

NONCE_SIZE = 16
"""Bytes; random ones, so no message is sealed twice in the same way."""

MAX_TOKEN = 4_096
"""Characters; a browser's address bar and every proxy take that much."""

_BLOCK = 64


class Seal:
    """Seals messages for one purpose; what one purpose sealed, no other opens.

    The message is encrypted with a keystream of BLAKE2b in counter mode, keyed by the
    secret and drawn from the nonce, and then signed with HMAC-SHA256.

    Args:
        secrets: The newest first: it seals, and all of them open.
        purpose: As in ``"click"``.
    """

    def __init__(self, secrets: Sequence[str], purpose: str) -> None:
        self._keys = [_Key(secret, purpose) for secret in secrets]

    def close(self, message: bytes, nonce: bytes) -> str:
        """Return a token, of the letters that are safe in URLs.

        Args:
            message: What to seal.
            nonce: NONCE_SIZE random bytes, never used before.
        """
        return self._keys[0].close(message, nonce)

    def open(self, token: str) -> tuple[bytes, bytes] | None:
        """Return a token's message and nonce, or None for any that is not ours."""
        if len(token) > MAX_TOKEN or not token.isascii():
            return None
        for key in self._keys:
            if (opened := key.open(token)) is not None:
                return opened
        return None


class _Key:
    def __init__(self, secret: str, purpose: str) -> None:
        self._stream_key = blake2b(
            secret.encode(), digest_size=_BLOCK, person=b"moe_mw seal"
        ).digest()
        self._signer = Signer(
            secret,
            salt=f"moe_middleware.{purpose}",
            key_derivation="hmac",
            digest_method=sha256,
        )
        self._purpose = purpose.encode()

    def close(self, message: bytes, nonce: bytes) -> str:
        sealed = nonce + self._crypt(message, nonce)
        text = urlsafe_b64encode(sealed).rstrip(b"=")
        return self._signer.sign(text).decode()

    def open(self, token: str) -> tuple[bytes, bytes] | None:
        text = token.rpartition(".")[0].encode()
        # Signed anew, and not only verified: what reads base64 leaves out what is none,
        # so a good signature may come with a line break in it, and go into a header.
        if not compare_digest(self._signer.sign(text), token.encode()):
            return None
        try:
            sealed = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
        except NotBase64:
            return None
        nonce, message = sealed[:NONCE_SIZE], sealed[NONCE_SIZE:]
        return self._crypt(message, nonce), nonce

    def _crypt(self, message: bytes, nonce: bytes) -> bytes:
        """Encrypt or decrypt: the same keystream does both."""
        blocks = range(-(-len(message) // _BLOCK))
        stream = b"".join(
            blake2b(
                nonce + number.to_bytes(4, "big") + self._purpose,
                key=self._stream_key,
                digest_size=_BLOCK,
            ).digest()
            for number in blocks
        )
        size = len(message)
        drawn = int.from_bytes(stream[:size], "big") ^ int.from_bytes(message, "big")
        return drawn.to_bytes(size, "big")
