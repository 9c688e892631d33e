"""Checks the credentials of a call: the app key, then the Basic credentials. Pure."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from hmac import compare_digest

from ..workspace.workspace import TEST_SUFFIX, Workspace
from .refusals import unknown_app, wrong_credentials


def check_credentials(workspace: Workspace, headers: Mapping[bytes, bytes]) -> None:
    """Check the credentials in headers by lower-case name, as in ASGI.

    Raises:
        Refusal: 400 for a missing or unknown app key (401 if the workspace says so),
            401 for other faults.
    """
    known = app_keys(workspace)
    named = headers.get(b"moe-appkey", b"").strip() or headers.get(b"moe-dbname", b"")
    app_key = named.decode("latin-1").strip()
    if app_key not in known:
        raise unknown_app(401 if workspace.unknown_app_is_401 else 400)
    user, password = _parse_basic(headers.get(b"authorization", b"").decode("latin-1"))
    # With TEST data, samples show either form of the id as the user.
    if user not in (app_key, workspace.workspace_id):
        raise wrong_credentials()
    given = password.encode()
    if not any(compare_digest(given, key.encode()) for key in workspace.api_keys):
        raise wrong_credentials()


def app_keys(workspace: Workspace) -> list[str]:
    """Return the names by which calls may address a workspace."""
    live = workspace.workspace_id
    return [live, live + TEST_SUFFIX] if workspace.test_app_key else [live]


# A client sends the same header with each call.
@lru_cache(maxsize=16)
def _parse_basic(header: str) -> tuple[str, str]:
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "basic":
        raise wrong_credentials()
    try:
        decoded = base64.b64decode(token.strip(), validate=True).decode()
        user, found, password = decoded.partition(":")
    except (binascii.Error, ValueError) as error:
        raise wrong_credentials() from error
    if not found:
        raise wrong_credentials()
    return user, password
