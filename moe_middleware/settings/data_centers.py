"""MoEngage's data centers, and the address of the API in each. Pure: no I/O."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from .trimming import trimmed
from .validation import shown

DataCenterName = Literal["01", "02", "03", "04", "05", "06", "101", "sandbox"]
DATA_CENTERS: tuple[str, ...] = get_args(DataCenterName)

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


def address_of(data_center: str) -> str:
    """Return the API's base URL in one of MoEngage's data centers."""
    return f"https://sdk-{data_center}.moengage.com/v1"


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


def probable_mistake_in(base_url: str) -> str | None:
    """Return why a valid base URL is probably wrong; None if it looks right."""
    if base_url.endswith("/v1"):
        return None
    return (
        f"{base_url} ends without /v1, where the API and the sandbox are: write "
        f"{base_url}/v1, unless that server has other paths"
    )


def _check_moengage(value: str, host: re.Match[str], path: str, scheme: str) -> None:
    number = host[2] or "01"
    right = address_of(number)
    if (host[1], path, scheme) != ("sdk", "/v1", "https") or not host[2]:
        raise ValueError(
            f"{value!r} is no address of Personalize: leave base_url out and write "
            f"data_center: {number!r}, which is {right}"
        )


_NO_URL = "this is no base URL: write it as in http://127.0.0.1:8787/v1"
