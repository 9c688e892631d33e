"""A Django site of one view, as its own test clients see it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.contrib.auth import get_user_model
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.urls import path, re_path

from moe_middleware.django.configuration import project_settings
from moe_middleware.models.events import Event
from moe_middleware.outbox import MemoryOutbox
from moe_middleware.personalizer.open_runtimes import runtime_for
from moe_middleware.personalizer.runtime import Runtime

from ..sites import settings
from .project import MIDDLEWARE
from .urls import KEY, page

EVENTS = {"outbox": "memory:", "relay": "off"}


class Site:
    """A project whose every path is one view, unless ``urls`` has another.

    Its customers are Django's users, unless ``identity`` names another source.
    """

    def __init__(
        self,
        view: Any = None,
        *,
        urls: dict[str, Any] | None = None,
        middleware: Sequence[str] = MIDDLEWARE,
        project: dict[str, Any] | None = None,
        **sections: Any,
    ) -> None:
        given = {"identity": {}, "events": EVENTS, **sections}
        patterns = [path(name, one) for name, one in (urls or {}).items()]
        self._project = {
            "MOENGAGE": settings(**given),
            "MIDDLEWARE": list(middleware),
            "ROOT_URLCONF": (*patterns, re_path("", view or page)),
            **(project or {}),
        }
        self.runtime: Runtime
        self.client = Client(raise_request_exception=False)
        self.async_client = AsyncClient(raise_request_exception=False)

    @contextmanager
    def running(self, **clocks: Any) -> Iterator[Site]:
        with override_settings(**self._project):
            # Held here: the middleware then takes the same one.
            self.runtime = runtime_for(project_settings(), **clocks)
            yield self

    def sign_in(self, name: str) -> Any:
        """Sign both clients in; return the user."""
        user = get_user_model().objects.get(username=name)
        self.client.force_login(user)
        self.async_client.force_login(user)
        return user

    def have_session(self) -> None:
        """Let both clients bring a session that is not loaded yet."""
        for client in (self.client, self.async_client):
            client.cookies["sessionid"] = "a" * 32

    def get(self, path: str = "/", **request: Any) -> Any:
        return self.client.get(path, **request)

    async def aget(self, path: str = "/", **request: Any) -> Any:
        return await self.async_client.get(path, **request)

    @property
    def events(self) -> list[Event]:
        """What was counted."""
        assert isinstance(self.runtime.outbox, MemoryOutbox)
        return self.runtime.outbox.events

    @property
    def shown(self) -> int:
        """How many impressions were counted."""
        assert all(event.experience_context for event in self.events)
        return len(self.events)


def body(response: Any) -> str:
    """Return a response's text, also a streamed one's, which that closes."""
    return b"".join(response).decode()


def source(request: Any) -> Any:
    """Answer where the banner came from."""
    from django.http import HttpResponse

    return HttpResponse(request.experiences[KEY].source)
