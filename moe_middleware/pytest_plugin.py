"""Fixtures for the tests of apps; pytest finds them without any configuration.

Every pytest run with this package installed imports this module, so it imports the
standard library only; the first test that needs the sandbox loads it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .sandbox import Sandbox
    from .sandbox.memory.state import Configured


_FOLDER = "moe-pytest-"


def pytest_configure(config: pytest.Config) -> None:
    """Keep the run's events in a temporary outbox, unless MOE_OUTBOX names another.

    An app that a test module imports loads its settings before any fixture runs.
    """
    given = os.environ.get("MOE_OUTBOX", "")
    # pytest-xdist's workers inherit the folder of the process that started them.
    is_worker = hasattr(config, "workerinput")
    if given and not (is_worker and _FOLDER in given):
        return
    # Windows removes no file that is open, as an app's outbox may be at the end.
    folder = tempfile.TemporaryDirectory(prefix=_FOLDER, ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setenv("MOE_OUTBOX", f"sqlite:///{Path(folder.name) / 'outbox.db'}")


@pytest.fixture
def moe_workspace() -> Configured:
    """The sandboxes' workspace at the start of each test: an empty one.

    Override it in your ``conftest.py``: return a ``Workspace`` or the path of a
    workspace file.
    """
    from .sandbox import Workspace

    return Workspace()


@pytest.fixture
def moe_sandbox(
    moe_workspace: Configured, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """An embedded sandbox, which every app in the test uses.

    Any settings lead to it: see ``moe_middleware.testing.sandboxed``.
    """
    from .testing import sandboxed

    with sandboxed(moe_workspace) as sandbox:
        _name(sandbox, monkeypatch)
        # It would lead from the embedded sandbox to a server.
        monkeypatch.delenv("MOE_BASE_URL", raising=False)
        yield sandbox


@pytest.fixture
def moe_sandbox_server(
    moe_workspace: Configured, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """A sandbox on a port of its own, for apps in other processes or languages.

    ``moe_sandbox_server.address`` is its URL. Settings loaded during the test find it
    by ``MOE_BASE_URL``, which processes started by the test inherit.
    """
    from .sandbox import Sandbox
    from .sandbox.listeners import address_of, listen
    from .testing import led_to

    try:
        from .sandbox.uvicorn import running
    except ModuleNotFoundError as error:
        if error.name != "uvicorn":
            raise
        pytest.fail(
            "moe_sandbox_server needs uvicorn: pip install 'moe_middleware[sandbox]'",
            pytrace=False,
        )
    sandbox = Sandbox(moe_workspace)
    with listen() as listener:
        sandbox.address = address_of(listener)
        base_url = f"{sandbox.address}/v1"
        with running(sandbox, listener), led_to(sandbox, base_url):
            _name(sandbox, monkeypatch)
            monkeypatch.setenv("MOE_BASE_URL", base_url)
            yield sandbox
    sandbox.close()


def _name(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name a sandbox in the environment, for other processes."""
    monkeypatch.setenv("MOE_DATA_CENTER", "sandbox")
    monkeypatch.setenv("MOE_WORKSPACE_ID", sandbox.workspace.workspace_id)
    monkeypatch.setenv("MOE_API_KEY", sandbox.workspace.api_keys[0])
