"""A test runner for ``manage.py test``: no server or store of MOENGAGE is used.

``TEST_RUNNER = "moe_middleware.testing.django.SandboxRunner"`` is all that a project
needs. A test that looks into the sandbox has one of its own::

    class HomeTests(TestCase):
        def setUp(self):
            self.sandbox = self.enterContext(sandboxed())
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from django.test.runner import DiscoverRunner, ParallelTestSuite

from . import deliver, sandboxed, use_sandbox

__all__ = ["SandboxRunner", "SandboxedRun", "deliver", "sandboxed"]


def _begin_process(*given: Any, **named: Any) -> None:
    """Start a worker, which may be forked or without any state of its parent."""
    use_sandbox()
    _begin(*given, **named)


_begin: Callable[..., None] = ParallelTestSuite.init_worker


class _SandboxedSuite(ParallelTestSuite):
    # Django calls its `process_setup` for some start methods of processes only.
    init_worker = _begin_process


class SandboxedRun:
    """A mixin for a runner of your own: ``class Runner(SandboxedRun, YourRunner)``."""

    parallel_test_suite = _SandboxedSuite

    def setup_test_environment(self, **given: Any) -> None:
        super().setup_test_environment(**given)  # type: ignore[misc]
        self._sandboxed = ExitStack()
        self._sandboxed.enter_context(sandboxed())

    def teardown_test_environment(self, **given: Any) -> None:
        self._sandboxed.close()
        super().teardown_test_environment(**given)  # type: ignore[misc]


class SandboxRunner(SandboxedRun, DiscoverRunner):  # type: ignore[misc]
    """Django's runner, with a sandbox."""
