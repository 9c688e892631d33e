"""Who may call: the app key first, then the Basic credentials. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from hmac import compare_digest

from ..workspace.workspace import TEST_SUFFIX, Workspace
from .refusals import unknown_app, wrong_credentials


def check_credentials(workspace: Workspace, headers: Mapping[bytes, bytes]) -> None:
    """Let the call pass.

    Args:
        workspace: Knows the ids and keys.
        headers: By name in lower case, as ASGI has them.

    Raises:
        Refusal: 400 for a missing or unknown app key (401 where the workspace says
            so), 401 for anything else.
    """
    known = app_keys(workspace)
    named = headers.get(b"moe-appkey", b"").strip() or headers.get(b"moe-dbname", b"")
    if named.decode("latin-1").strip() not in known:
        raise unknown_app(401 if workspace.unknown_app_is_401 else 400)
    user, password = _parse_basic(headers.get(b"authorization", b"").decode("latin-1"))
    if user not in known:
        raise wrong_credentials()
    given = password.encode()
    if not any(compare_digest(given, key.encode()) for key in workspace.api_keys):
        raise wrong_credentials()


def app_keys(workspace: Workspace) -> list[str]:
    """Return what a workspace is called by its callers."""
    live = workspace.workspace_id
    return [live, live + TEST_SUFFIX] if workspace.test_app_key else [live]


@lru_cache(maxsize=16)
def _parse_basic(header: str) -> tuple[str, str]:
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "basic":
        raise wrong_credentials()
    try:
        user, found, password = base64.b64decode(token).decode().partition(":")
    except (binascii.Error, ValueError) as error:
        raise wrong_credentials() from error
    if not found:
        raise wrong_credentials()
    return user, password
