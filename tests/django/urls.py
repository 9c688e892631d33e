"""The pages of the project where a test brings none of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.shortcuts import render
from django.urls import path

from moe_middleware import current_experiences

KEY = "homepage-banner"


def page(request: Any) -> Any:
    return render(request, "page.html")


async def async_page(request: Any) -> Any:
    return render(request, "page.html")


def _title() -> str:
    return str(current_experiences().show(KEY).get("Title", "Welcome"))


def stream(request: Any) -> Any:
    def parts() -> Iterator[str]:
        yield "<h1>"
        yield _title()
        yield "</h1>"

    return StreamingHttpResponse(parts())


async def async_stream(request: Any) -> Any:
    async def parts() -> AsyncIterator[str]:
        yield "<h1>"
        yield _title()
        yield "</h1>"

    return StreamingHttpResponse(parts())


urlpatterns = [
    path("", page),
    path("async", async_page),
    path("stream", stream),
    path("async-stream", async_stream),
]
