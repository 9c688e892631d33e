"""The Content-Security-Policy of every page: its own files, and scripts by a nonce."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; "
    "connect-src {connect}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def new_nonce() -> str:
    """Return a nonce for one response, and never for another."""
    return secrets.token_urlsafe(16)


def policy(nonce: str, sandbox: str | None) -> str:
    """Return the header's value.

    Args:
        nonce: That of the response's scripts.
        sandbox: Where the sandbox is: its stand-in of the Web SDK reports to it. Your
            own site names MoEngage's hosts instead, on the pages with the Web SDK.
    """
    site = urlsplit(sandbox or "")
    elsewhere = f" {site.scheme}://{site.netloc}" if site.netloc else ""
    return POLICY.format(nonce=nonce, connect=f"'self'{elsewhere}")
