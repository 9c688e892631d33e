"""The small shop of ``asgi_apps`` as Django views."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import path

from .asgi_apps import (
    download,
    elsewhere,
    late,
    shown,
    streamed,
    title,
)


async def tag(request: Any) -> Any:
    return render(request, "page")


async def handler(request: Any) -> Any:
    return HttpResponse(title(request.scope["state"].get("experiences")))


def thread(request: Any) -> Any:
    return HttpResponse(title())


async def other(request: Any) -> Any:
    return HttpResponse(elsewhere(request))


async def stream(request: Any) -> Any:
    return StreamingHttpResponse(streamed(), content_type="text/plain")


async def late_page(request: Any) -> Any:
    return StreamingHttpResponse(late(), content_type="text/plain")


async def file(request: Any) -> Any:
    shown()
    return HttpResponse(download().read_bytes(), "application/octet-stream")


async def broken(request: Any) -> Any:
    shown()
    raise RuntimeError("broken page")


async def echo(request: Any) -> Any:
    return HttpResponse(request.body)


urlpatterns = [
    path("tag", tag),
    path("handler", handler),
    path("thread", thread),
    path("elsewhere", other),
    path("stream", stream),
    path("late", late_page),
    path("file", file),
    path("broken", broken),
    path("echo", echo),
]
