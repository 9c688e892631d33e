"""The sandbox's workspace: customers, audiences, experiences, faults."""

from __future__ import annotations
