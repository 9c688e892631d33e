"""The state of the sandbox: events, profiles, calls and limits."""

from __future__ import annotations
