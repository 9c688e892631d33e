"""The sandbox: a local look-alike of MoEngage's Personalize API.

It implements the published JSON itself, independent of the client.
"""

from __future__ import annotations

from .app import Sandbox
from .in_process import embedded, embedded_transport
from .server import serve
from .workspace.faults import ConnectionDropped, Fault
from .workspace.sample import sample_workspace
from .workspace.schedules import Status
from .workspace.workspace import (
    Audience,
    Customer,
    DataType,
    Experience,
    Value,
    Variation,
    Workspace,
)

__all__ = [
    "Audience",
    "ConnectionDropped",
    "Customer",
    "DataType",
    "Experience",
    "Fault",
    "Sandbox",
    "Status",
    "Value",
    "Variation",
    "Workspace",
    "embedded",
    "embedded_transport",
    "sample_workspace",
    "serve",
]
