"""Checks a workspace's id, keys, data center and address. Pure: no I/O.

No error text contains a credential.
"""

from __future__ import annotations

import re
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import SecretStr

from .trimming import is_quoted, is_unfilled, trimmed
from .validation import shown

DataCenterName = Literal["01", "02", "03", "04", "05", "06", "101", "sandbox"]
DATA_CENTERS: tuple[str, ...] = get_args(DataCenterName)

SHORTEST_SECRET = 16
"""Characters of a secret_key."""

# Regions with two data centers are left out: either could be meant.
_REGIONS = {
    **dict.fromkeys(("eu", "europe", "de", "frankfurt"), "02"),
    **dict.fromkeys(("in", "india", "mumbai"), "03"),
    **dict.fromkeys(("sg", "singapore"), "05"),
    **dict.fromkeys(("id", "indonesia", "jakarta"), "06"),
    **dict.fromkeys(("local", "localhost", "embedded", "test", "sand box"), "sandbox"),
}
_VISIBLE = re.compile(r"[!-~]+")
_MOENGAGE = re.compile(r"(?:([a-z]+)-)?(\d+)?\.?moengage\.com")
_NUMBERED = re.compile(
    r"(?:https?://)?(?:\w+[-_ ])?(?:dc)?[-_ ]?(\d{1,3})(?:\.moengage\.com.*)?"
)


def check_workspace_id(value: str) -> str:
    """Return a workspace id, trimmed.

    Raises:
        ValueError: It is not one.
    """
    value = trimmed(value)
    _check_filled_in(value, "the id")
    # Basic credentials end it at a ':'.
    if not _VISIBLE.fullmatch(value) or ":" in value:
        raise ValueError(
            "this is no workspace id: it has visible ASCII characters, and no ':'"
        )
    return value


def check_api_key(value: SecretStr) -> SecretStr:
    """Return an API key, trimmed.

    Raises:
        ValueError: It is not one.
    """
    text = trimmed(value.get_secret_value())
    if not text:
        raise ValueError("the key is empty: copy it from the dashboard")
    _check_filled_in(text, "the key")
    if not _VISIBLE.fullmatch(text):
        raise ValueError(
            "the key has a blank, a line break or a letter that is not ASCII within "
            "it: copy it from the dashboard again"
        )
    return SecretStr(text)


def check_secret_key(value: SecretStr) -> SecretStr:
    """Return a key that signs links, trimmed.

    Raises:
        ValueError: It is unusable, or too short.
    """
    text = trimmed(value.get_secret_value())
    if is_unfilled(text):
        _check_filled_in(text, "the key")
    if len(text) < SHORTEST_SECRET:
        raise ValueError(
            f"a secret key has {SHORTEST_SECRET} characters at least: make one with "
            "'python -c \"import secrets; print(secrets.token_urlsafe(32))\"'"
        )
    return SecretStr(text)


def _check_filled_in(text: str, what: str) -> None:
    if is_unfilled(text):
        raise ValueError(
            f"{what} is a variable that nothing filled in: write ${{NAME}}"
        )
    if is_quoted(text):
        raise ValueError(f"{what} stands in quotes that are part of it: leave them out")


def check_data_center(value: Any) -> str:
    """Return a data center's number, or ``sandbox``.

    Raises:
        ValueError: There is no such data center.
    """
    # Many YAML readers take 03 without quotes for 3.
    number = isinstance(value, int) and not isinstance(value, bool)
    text = f"{int(value):02d}" if number else value
    if not isinstance(text, str):
        raise ValueError(_unknown_data_center(value))
    text = trimmed(text)
    if text in DATA_CENTERS:
        return str(text)
    lower = text.lower()
    found = _NUMBERED.fullmatch(lower)
    near = (found[1].lstrip("0").zfill(2) if found else "") or lower
    near = near if near in DATA_CENTERS else _REGIONS.get(lower, "")
    if near:
        raise ValueError(f"unknown data center {shown(value)}: did you mean {near!r}?")
    raise ValueError(_unknown_data_center(value))


def _unknown_data_center(value: object) -> str:
    return f"unknown data center {shown(value)}: use one of {', '.join(DATA_CENTERS)}"


def check_base_url(value: str) -> str:
    """Return the API's base URL, without a slash at its end.

    Raises:
        ValueError: It cannot be the API's base URL.
    """
    value = trimmed(value)
    try:
        parts = urlsplit(value)
        port_is_fine = parts.port is None or parts.port > 0
        has_credentials = parts.username is not None or parts.password is not None
    except ValueError:
        raise ValueError(_NO_URL) from None
    if has_credentials or "@" in value:
        raise ValueError("a base_url holds no credentials: give id and api_key")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ValueError(f"{value!r}: {_NO_URL}")
    if not _VISIBLE.fullmatch(value) or "\\" in value:
        raise ValueError(_NO_URL)
    if parts.query or parts.fragment or value[-1] in "?#":
        raise ValueError(f"{_NO_URL}, without query and fragment")
    path = parts.path.rstrip("/")
    if (at := path.find("/experiences")) >= 0:
        meant = f"{parts.scheme}://{parts.netloc}{path[:at]}"
        raise ValueError(
            f"{value!r} is the address of one call: write what comes before "
            f"/experiences, {meant!r}"
        )
    host = _MOENGAGE.fullmatch(parts.hostname)
    if host is not None:
        _check_moengage(value, host, path, parts.scheme)
    return f"{parts.scheme}://{parts.netloc}{path}"


def doubt_about(base_url: str) -> str | None:
    """Return why a valid base URL is probably wrong; None if it looks right."""
    if base_url.endswith("/v1"):
        return None
    return (
        f"{base_url} ends without /v1, where the API and the sandbox are: write "
        f"{base_url}/v1, unless that server has other paths"
    )


def _check_moengage(value: str, host: re.Match[str], path: str, scheme: str) -> None:
    number = host[2] or "01"
    right = f"https://sdk-{number}.moengage.com/v1"
    if (host[1], path, scheme) != ("sdk", "/v1", "https") or not host[2]:
        raise ValueError(
            f"{value!r} is no address of Personalize: leave base_url out and write "
            f"data_center: {number!r}, which is {right}"
        )


_NO_URL = "this is no base URL: write it as in http://127.0.0.1:8787/v1"
