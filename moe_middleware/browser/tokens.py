"""Makes and reads signed tokens: anyone can read them, only we can make them. Pure.

A token is ``base64url(body).base64url(HMAC-SHA256 of the first part)``. The body is a
version byte, a head of fixed size, and the message as deflated JSON. Tokens are not
encrypted: they must contain nothing that their page may not show.
"""

from __future__ import annotations

import hmac
import os
import struct
import zlib
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any, Final

import orjson
from itsdangerous import Signer
from itsdangerous.encoding import want_bytes

MAX_TOKEN: Final = 4_096
"""The longest token, in characters: browsers' address bars and proxies accept it."""

MAX_MESSAGE: Final = 64 * 1024
"""The largest JSON of a message, in bytes; tokens that expand to more are refused."""


class TokenTooLongError(ValueError):
    """The token of a message would be too long."""


class Tokens:
    """Makes and reads the tokens of one purpose; tokens of other purposes are refused.

    Args:
        secrets: The secret keys: the first signs, and tokens signed with any of them
            are read.
        purpose: The purpose, as in ``"click"``.
        fields: The number of values in each message.
        head_size: The bytes of each token's head.
        max_length: The characters of the longest token that is made.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        purpose: str,
        *,
        fields: int,
        head_size: int = 0,
        max_length: int = MAX_TOKEN,
    ) -> None:
        self._signers = [_Signer(secret, f"token.{purpose}") for secret in secrets]
        self._fields = fields
        self._head_size = head_size
        self._max_length = max_length

    def make(self, message: Sequence[Any]) -> str:
        """Return the token of ``fields`` JSON values, without a head; see ``sign``.

        Raises:
            TypeError: A value of the message is no JSON.
        """
        return self.sign(pack(orjson.dumps(message)))

    def sign(self, packed: bytes, head: bytes = b"") -> str:
        """Return a token, of characters that are safe in URLs, cookies and attributes.

        Args:
            packed: The message, a JSON array of ``fields`` values, packed.
            head: ``head_size`` bytes, unchanged in the token.

        Raises:
            TokenTooLongError: The token has more than ``max_length`` characters.
        """
        body = _encoded(_VERSION + head + packed)
        token = b"%b.%b" % (body, self._signers[0].get_signature(body))
        if len(token) > self._max_length:
            raise TokenTooLongError(
                f"it takes {len(token):,} characters of {self._max_length:,}"
            )
        return token.decode()

    def read(self, token: str) -> tuple[bytes, list[Any]] | None:
        """Return a token's head and message; None if it is not ours."""
        # Before anything is computed from it: it may be megabytes of anybody's.
        if len(token) > MAX_TOKEN or not token.isascii():
            return None
        signed = token.encode()
        text = signed.rpartition(b".")[0]
        # Sign again and compare: verifying would ignore foreign characters in base64,
        # and let a line break through into a header.
        if not any(
            hmac.compare_digest(signer.sign(text), signed) for signer in self._signers
        ):
            return None
        try:
            body = urlsafe_b64decode(text + b"=" * (-len(text) % 4))
            unpack = _UNPACKERS[body[:1]]
            head, packed = body[1 : 1 + self._head_size], body[1 + self._head_size :]
            message = unpack(packed)
        except (NotBase64, KeyError, ValueError):
            return None
        if isinstance(message, list) and len(message) == self._fields:
            return head, message
        return None


@dataclass(frozen=True, slots=True)
class VisitorToken:
    """A token that counts for one visitor, until it expires.

    Attributes:
        id: 16 random bytes of this token.
        visitor_digest: A keyed digest of the workspace and the visitor's id.
        expires_at: The expiry, in unix seconds.
        message: The JSON values.
    """

    id: bytes
    visitor_digest: bytes
    expires_at: int
    message: list[Any]


class VisitorTokens:
    """Makes and reads tokens that count for the visitor of their page only.

    The digest in a token is keyed with the secret and differs from token to token: it
    neither reveals the visitor's id to somebody who tries likely ids, nor that two
    tokens belong to one visitor.

    Args:
        secrets: The secret keys, the newest first.
        purpose: The purpose, as in ``"click"``.
        fields: The number of values in each message.
        workspace_id: Tokens of another workspace count for no visitor of this one.
        max_age: Seconds during which a token counts.
        clock: The time, in unix seconds.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        purpose: str,
        *,
        fields: int,
        workspace_id: str,
        max_age: float,
        clock: Callable[[], float],
    ) -> None:
        self._tokens = Tokens(secrets, purpose, fields=fields, head_size=_HEAD.size)
        # Hashed, so that no two pairs of workspace id and visitor id give the same
        # text.
        salt = f"visitor.{purpose}.{sha256(workspace_id.encode()).hexdigest()}"
        # Prepared hashes: copying one takes a fifth of making one with its key.
        self._keyed = [
            blake2b(key=_Signer(secret, salt).derive_key(), digest_size=8)
            for secret in secrets
        ]
        self._max_age = max_age
        self._clock = clock

    def sign(self, packed: bytes, visitor_id: str | None) -> str:
        """Return a token for one visitor.

        Args:
            packed: The message, a JSON array of ``fields`` values, packed.
            visitor_id: The id that the visitor's events carry.

        Raises:
            TokenTooLongError: The token has more than MAX_TOKEN characters.
        """
        token_id = os.urandom(16)
        digest = _visitor_digest(self._keyed[0], token_id, visitor_id)
        expires_at = min(int(self._clock() + self._max_age), _LATEST)
        return self._tokens.sign(packed, _HEAD.pack(token_id, digest, expires_at))

    def read(self, token: str) -> VisitorToken | None:
        """Return the content of a token, expired or not; None if it is not ours."""
        read = self._tokens.read(token)
        if read is None:
            return None
        head, message = read
        token_id, digest, expires_at = _HEAD.unpack(head)
        return VisitorToken(token_id, digest, expires_at, message)

    def is_of(self, token: VisitorToken, visitor_id: str | None) -> bool:
        """Whether a token was made for this visitor."""
        return any(
            hmac.compare_digest(
                token.visitor_digest, _visitor_digest(keyed, token.id, visitor_id)
            )
            for keyed in self._keyed
        )


_HEAD = struct.Struct(">16s8sI")
_LATEST = 2**32 - 1
"""The latest expiry, in unix seconds: four bytes, the year 2106."""


def _visitor_digest(keyed: blake2b, token_id: bytes, visitor_id: str | None) -> bytes:
    digest = keyed.copy()
    digest.update(token_id + (visitor_id or "").encode("utf-8", "surrogatepass"))
    return digest.digest()


class _Signer(Signer):
    """An itsdangerous signer with the key's part of both hashes of the HMAC done
    beforehand: copying these takes a quarter of copying Python's own HMAC."""

    def __init__(self, secret: str, salt: str) -> None:
        super().__init__(
            secret,
            salt=f"moe_middleware.{salt}",
            key_derivation="hmac",
            digest_method=sha256,
        )
        # As RFC 2104 has them. The key is a digest, and so shorter than a block.
        key = self.derive_key().ljust(sha256().block_size, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = sha256(bytes(byte ^ 0x5C for byte in key))

    def get_signature(self, value: str | bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(want_bytes(value))
        outer.update(inner.digest())
        return _encoded(outer.digest())


def _encoded(raw: bytes) -> bytes:
    """Return bytes in base64url without padding."""
    return b2a_base64(raw, newline=False).rstrip(b"=").translate(_URL_SAFE)


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


# --- the first version's message -------------------------------------------------

# The preset dictionary: the texts of nearly every experience_context, the likeliest
# last. A change needs a new version.
_EXPECTED = (
    b'"https://www.","/products/","Add to Cart","Shop Now",'
    b'{"cid":"_F_T_WP_AB_1_P_0_AU_","experience":"","moe_locale_id":"0","moe_variation_id":"1","audience_name":'
    b'"All Users","audience_id":"","type":"Web Personalization","experience_type":'
    b'"API based Experience"}]'
)

# Raw deflate with a window of 4 KB: a larger one takes longer to copy.
_WINDOW = -12
_PACKER = zlib.compressobj(
    6, zlib.DEFLATED, _WINDOW, 4, zlib.Z_DEFAULT_STRATEGY, _EXPECTED
)


def pack(text: bytes) -> bytes:
    """Return a message, which is JSON, in the form that a token has it.

    Raises:
        TokenTooLongError: It has more than MAX_MESSAGE bytes.
    """
    if len(text) > MAX_MESSAGE:
        raise TokenTooLongError(f"it has {len(text):,} bytes of {MAX_MESSAGE:,}")
    packer = _PACKER.copy()
    return packer.compress(text) + packer.flush()


def _unpack(packed: bytes) -> Any:
    """Return a message.

    Raises:
        ValueError: It is cut off, too large or malformed.
    """
    unpacker = zlib.decompressobj(_WINDOW, _EXPECTED)
    try:
        text = unpacker.decompress(packed, MAX_MESSAGE)
    except zlib.error as error:
        raise ValueError("it cannot be unpacked") from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is cut, too large or has something behind it")
    return orjson.loads(text)


_VERSION = b"\x01"
"""The version of new tokens; older versions are read while they are listed."""

_UNPACKERS: dict[bytes, Callable[[bytes], Any]] = {_VERSION: _unpack}
