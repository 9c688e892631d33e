"""The sandbox's reports: counts, rates, statistics and timelines."""

from __future__ import annotations
