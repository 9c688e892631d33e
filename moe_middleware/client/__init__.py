"""The client of the API, and the budget of its calls."""

from __future__ import annotations
