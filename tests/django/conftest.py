"""A database with users and sessions, and sites made of a test's own views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.management import call_command
from django.db import connections

from moe_middleware.sandbox import Sandbox

from . import project
from .sites import Site

assert project.MIDDLEWARE


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An SQLite file: Django's threads have a connection each."""
    file = tmp_path_factory.mktemp("django") / "db.sqlite3"
    connections["default"].settings_dict["NAME"] = file
    call_command("migrate", verbosity=0)
    # MoEngage takes the ids 1 and 2 for placeholders.
    users: Any = get_user_model().objects
    for name in ("root", "staff", "alice", "bob"):
        users.create_user(name, f"{name}@shop.example", "secret")
    yield
    connections.close_all()


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """Django's cache in memory belongs to the process: to other tests, too."""
    cache.clear()


@pytest.fixture
def site(sandbox: Sandbox, database: None) -> Iterator[Callable[..., Site]]:
    """Make sites: their views by path, then settings."""
    with ExitStack() as stack:

        def make(view: Any = None, **given: Any) -> Site:
            return stack.enter_context(Site(view, **given).running())

        yield make


@pytest.fixture(params=["sync", "async"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def get(mode: str) -> Callable[..., Any]:
    """Visit a site through Django's sync or async stack."""

    def visit(site: Site, *given: Any, method: str = "get", **named: Any) -> Any:
        if mode == "sync":
            return getattr(site.client, method)(*(given or ["/"]), **named)
        ask = async_to_sync(getattr(site.async_client, method))
        return ask(*(given or ["/"]), **named)

    return visit
