"""The state of a running sandbox: its workspace, events, faults and calls."""

from __future__ import annotations

import os
import random
import string
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from ...models.errors import Problem
from ..protocol.leniencies import Leniencies
from ..workspace.faults import FaultList, Hit
from ..workspace.sample import sample_workspace
from ..workspace.workspace import Workspace
from .limits import MinuteLimit
from .request_log import RequestLog
from .stores import Store
from .tables import MEMORY

Configured = Workspace | str | os.PathLike[str]
"""A workspace, or its file."""


def eight_letters() -> str:
    """Return a code in the form of the API's errors and receipts."""
    return "".join(random.choices(string.ascii_letters, k=8))


class State:
    """The state that the API, the pages and the tools share.

    Several threads and event loops may use it at once. The arguments are those of
    ``Sandbox``.

    Attributes:
        letters: Makes the codes of errors and receipts.
        hosts: The host names that browsers may use, beside addresses and names without
            a dot; other names could belong to other sites.
        token: The token that the pages and tools require; empty for none.
        address: Its URL, as in ``http://127.0.0.1:8787``; empty in process.
    """

    def __init__(
        self,
        workspace: Configured | None = None,
        *,
        clock: Callable[[], float] = time.time,
        letters: Callable[[], str] = eight_letters,
        db: str | os.PathLike[str] = MEMORY,
        strict: bool = False,
    ) -> None:
        self._time = clock
        self._frozen_at: float | None = None
        self.letters = letters
        self.address = ""
        self.hosts: set[str] = set()
        self.token = ""
        self._read, self._problems = _reader(workspace or sample_workspace())
        self._strict = strict
        self._as_read = self._read()
        self._workspace = self._as_used(self._as_read)
        self.store = Store(os.fspath(db), self._workspace)
        self.faults = FaultList(self._workspace.faults)
        self.requests = RequestLog()
        self.limit = MinuteLimit(self.clock)
        self.leniencies = Leniencies()
        self._calls: Counter[str] = Counter()
        self._calls_lock = threading.Lock()

    # --- configuration -------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """The current workspace."""
        read = self._read()
        if read is not self._as_read:
            before, self._as_read = self._as_read, read
            self._use(read)
            # Faults that a test has added outlive other changes of the file.
            if read.faults != before.faults:
                self.faults.reset(read.faults)
        return self._workspace

    @workspace.setter
    def workspace(self, workspace: Configured) -> None:
        self._read, self._problems = _reader(workspace)
        self._as_read = self._read()
        self._use(self._as_read)
        self.faults.reset(self._as_read.faults)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The current mistakes in the workspace file; the last valid one stays in
        use."""
        return self._problems()

    def _use(self, workspace: Workspace) -> None:
        self._workspace = self._as_used(workspace)
        self.store.use(self._workspace)

    def _as_used(self, workspace: Workspace) -> Workspace:
        return replace(workspace, strict=True) if self._strict else workspace

    # --- the time ------------------------------------------------------------

    def clock(self) -> float:
        """Return the sandbox's time in unix seconds."""
        return self._time() if self._frozen_at is None else self._frozen_at

    def freeze(self, at: float | datetime | None = None) -> None:
        """Freeze the clock until the next reset, at a time in unix seconds or now."""
        if isinstance(at, datetime):
            at = at.timestamp()
        self._frozen_at = self.clock() if at is None else at

    # --- events and calls ----------------------------------------------------

    @property
    def calls(self) -> Counter[str]:
        """The number of calls to ``fetch``, ``metadata`` and ``events``."""
        with self._calls_lock:
            return self._calls.copy()

    def arrive(self, endpoint: str) -> Hit | None:
        """Count a new call, and return the fault to apply to it."""
        with self._calls_lock:
            self._calls[endpoint] += 1
        return self.faults.take(endpoint)

    def reset(self) -> None:
        """Reset the sandbox to its start.

        Delete events, profiles, calls and the log, remove experiences and customers
        that were added, restart the clock, and restore the workspace's own faults.
        """
        self._frozen_at = None
        self._use(self._as_read)
        self.store.reset()
        self.faults.reset(self._as_read.faults)
        self.requests.clear()
        self.limit.reset()
        self.leniencies.clear()
        with self._calls_lock:
            self._calls.clear()

    def close(self) -> None:
        """Close the file of events."""
        self.store.close()


def _reader(
    workspace: Configured,
) -> tuple[Callable[[], Workspace], Callable[[], tuple[Problem, ...]]]:
    """Return a function for the current workspace and its file's mistakes.

    Raises:
        TypeError: ``workspace`` is neither a workspace nor a path.
    """
    if isinstance(workspace, str | os.PathLike):
        from ..workspace.file import WorkspaceFile

        file = WorkspaceFile(workspace)
        return file.current, lambda: file.problems
    if not isinstance(workspace, Workspace):
        raise TypeError(
            f"workspace is of type {type(workspace).__name__}: give a Workspace or the "
            "path of a workspace file"
        )
    return lambda: workspace, tuple
