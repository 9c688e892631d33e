"""The small shop of ``wsgi_apps`` as Django views."""

from __future__ import annotations

from typing import Any

import django.http as http
from django.urls import path

from .asgi_apps import elsewhere
from .wsgi_apps import TEXT, late, opened, page, shown, streamed, title


def tag(request: Any) -> Any:
    return http.HttpResponse(page())


def handler(request: Any) -> Any:
    return http.HttpResponse(title(request.environ))


def other(request: Any) -> Any:
    return http.HttpResponse(elsewhere(request))


def stream(request: Any) -> Any:
    return http.StreamingHttpResponse(streamed(), content_type=TEXT)


def late_page(request: Any) -> Any:
    return http.StreamingHttpResponse(late(), content_type=TEXT)


def file(request: Any) -> Any:
    shown()
    return http.FileResponse(opened())


def broken(request: Any) -> Any:
    shown()
    raise RuntimeError("broken")


def echo(request: Any) -> Any:
    return http.HttpResponse(request.body, content_type=TEXT)


views = {
    "tag": tag,
    "handler": handler,
    "elsewhere": other,
    "stream": stream,
    "late": late_page,
    "file": file,
    "broken": broken,
    "echo": echo,
}
urlpatterns = [path(name, view) for name, view in views.items()]
