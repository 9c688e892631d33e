"""The script that counts in browsers: what of it is served, and how pages load it."""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path

from markupsafe import Markup


def _served(source: str) -> bytes:
    """Return a script without what only its readers need.

    It is to be written accordingly: a comment has its own lines, and no text in quotes
    holds an operator or a comma with spaces beside it.
    """
    lines = (line.strip() for line in source.splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith("//"))
    return re.sub(r" (=>|[=<+*|&]+) |, ", _narrow, text).encode()


def _narrow(mark: re.Match[str]) -> str:
    return mark[0].strip()


SCRIPT = _served(Path(__file__).with_name("moe.js").read_text(encoding="utf-8"))

SCRIPT_NAME = f"{blake2b(SCRIPT, digest_size=8).hexdigest()}.js"
"""Another name for each content, so that browsers may keep it for ever."""

_ELEMENT = Markup('<script src="{}/{}" defer{}></script>')
_NONCE = Markup(' nonce="{}"')


def script_element(path: str, nonce: str | None) -> Markup:
    """Return the element that loads the script.

    Args:
        path: Where our own paths begin, as in ``/_moe``.
        nonce: Of the page's Content-Security-Policy.
    """
    return _ELEMENT.format(path, SCRIPT_NAME, _NONCE.format(nonce) if nonce else "")
