"""The overlay's element with its content, and the script that draws it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from ..models.texts import Headers

# A custom element in place of a data block: it draws itself also where a script, as
# Turbo or htmx, puts it into the page. It contains the badge of a preview.
_ELEMENT = Markup(
    '<moe-overlay data-page="{}">{}</moe-overlay><script src="{}/{}" defer{}></script>'
)

_NONCE = re.compile(rb"'nonce-([A-Za-z0-9+/_-]+={0,2})'", re.IGNORECASE)

_SCRIPT_DIRECTIVES = (b"script-src-elem", b"script-src", b"default-src")


def overlay_element(
    path: str, about: Mapping[str, Any], badge: str, nonce: str | None
) -> Markup:
    """Return the overlay's elements, in ASCII.

    Args:
        path: The prefix of our own endpoints, as in ``/_moe``.
        about: Its content, as JSON values.
        badge: The badge of a preview; empty without one.
        nonce: The nonce of the page's Content-Security-Policy.
    """
    message = json.dumps(about, separators=(",", ":"))
    nonced = Markup(' nonce="{}"').format(nonce) if nonce else Markup()
    name = overlay_script()[0]
    # In ASCII, it fits into a page of any encoding.
    ascii_badge = Markup(badge.encode("ascii", "xmlcharrefreplace").decode())
    return _ELEMENT.format(message, ascii_badge, escape(path), name, nonced)


def nonce_in(headers: Headers) -> str | None:
    """Return the nonce that a response's Content-Security-Policy has for scripts."""
    for name, value in headers:
        # A policy that only reports forbids nothing.
        if name.lower() != b"content-security-policy":
            continue
        directives = [one.split(None, 1) for one in re.split(rb"[;,]", value)]
        given = {one[0].lower(): one[1] for one in directives if len(one) == 2}
        for directive in _SCRIPT_DIRECTIVES:
            if directive in given:
                found = _NONCE.search(given[directive])
                if found is not None:
                    return found[1].decode()
                break
    return None


@cache
def overlay_script() -> tuple[str, bytes]:
    """Return the script's name, which depends on its content, and the script."""
    here = Path(__file__).parent
    style = (here / "overlay.css").read_text(encoding="utf-8")
    source = (here / "overlay.js").read_text(encoding="utf-8")
    packed = "".join(line.strip() for line in style.splitlines())
    # Within the script: a shadow root takes a stylesheet where a policy forbids styles.
    script = source.replace('"the style"', json.dumps(packed)).encode()
    return f"{blake2b(script, digest_size=8).hexdigest()}.js", script
