"""The scripts for browsers, and the elements that load them."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from markupsafe import Markup, escape


def _read(name: str) -> bytes:
    """Return a script without comments and needless blanks.

    Scripts must be written accordingly: each comment has its own lines, and no quoted
    text has an operator or a comma with spaces beside it.
    """
    source = Path(__file__).with_name(name).read_text(encoding="utf-8")
    lines = (line.strip() for line in source.splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith("//"))
    return re.sub(r" (=>|[=<+*|&]+) |, ", lambda mark: mark[0].strip(), text).encode()


def _named(script: bytes) -> str:
    """Return a file name that changes with the content, for the browser's cache."""
    return f"{blake2b(script, digest_size=8).hexdigest()}.js"


SCRIPT = _read("moe.js")
SCRIPT_NAME = _named(SCRIPT)

SDK_SCRIPT = _read("sdk.js")
SDK_SCRIPT_NAME = _named(SDK_SCRIPT)


def script_element(path: str, nonce: str | None, name: str = SCRIPT_NAME) -> Markup:
    """Return the element that loads one of the scripts.

    Args:
        path: The prefix of our own endpoints, as in ``/_moe``.
        nonce: The nonce of the page's Content-Security-Policy.
        name: The script: the one that reports clicks and views, or the one for
            MoEngage's Web SDK.
    """
    # Most of its text is the same on every page; a nonce is another one on each.
    if not nonce:
        return _element(path, name)
    return Markup(f'{_beginning(path, name)} nonce="{escape(nonce)}"></script>')


@lru_cache(maxsize=64)
def _element(path: str, name: str) -> Markup:
    return Markup(f"{_beginning(path, name)}></script>")


@lru_cache(maxsize=64)
def _beginning(path: str, name: str) -> str:
    return f'<script src="{escape(path)}/{name}" defer'
