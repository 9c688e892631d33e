"""A site with the middlewares of a grown one, as servers run it.

``gunicorn 'tests.django.stack:wsgi()'`` and ``uvicorn --factory
tests.django.stack:asgi``, with the settings that ``MOE_CONFIG`` names.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django
from django.conf import settings as project
from django.conf.urls.i18n import i18n_patterns
from django.core.asgi import get_asgi_application
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path

from moe_middleware.django import lifespan

from .urls import async_stream, stream

BANNER = (
    '{% load moengage cache %}{% experience "homepage-banner" as hero %}'
    "<h1>{{ hero.Title }}</h1>{% endexperience %}"
)
PAGES = {
    "home.html": f"{BANNER}<p>{{% cache 60 menu %}}menu{{% endcache %}}</p>",
    "late.html": "<p>{{ number }}</p>@@",
}
FILLING = " " * 300
"""As much as a page has to have to be compressed."""

HERE = "tests.django.stack"

STATIC = Path(__file__).parent / "static"
"""What WhiteNoise serves at the site's root, beside the pages of a mapped route."""

MIDDLEWARE = [
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.http.ConditionalGetMiddleware",
    f"{HERE}.SecondPhase",
    "django.middleware.cache.UpdateCacheMiddleware",
    f"{HERE}.ContentPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "moe_middleware.django.MoEngageMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]


class SecondPhase:
    """Renders late what the page cache must not keep, as Mezzanine's does."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        if b"@@" in getattr(response, "content", b""):
            late = engines["django"].from_string(BANNER).render({}, request)
            response.content = response.content.replace(b"@@", late.encode())
            response["Content-Length"] = str(len(response.content))
        return response


class ContentPolicy:
    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        response = self.get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'"
        return response


_numbers = itertools.count(1)


def home(request: Any) -> Any:
    return TemplateResponse(request, "home.html")


def late(request: Any) -> Any:
    return TemplateResponse(request, "late.html", {"number": next(_numbers)})


def plain(request: Any) -> Any:
    return HttpResponse(f"<p>{next(_numbers)}</p>{FILLING}")


class _Preview(BaseHandler):
    """Runs a made-up request through all middlewares, as Wagtail's preview panel."""

    def _get_response(self, request: Any) -> Any:
        request.is_preview = True
        return home(request).render()


def preview(request: Any) -> Any:
    given = {**request.META, "PATH_INFO": "/en/"}
    made_up = WSGIRequest(given) if "wsgi.input" in given else HttpRequest()
    made_up.META, made_up.path, made_up.path_info = given, "/en/", "/en/"
    made_up.method = "GET"
    made_up.is_dummy = True  # type: ignore[attr-defined]
    handler = _Preview()
    handler.load_middleware()
    return HttpResponse(b"".join(handler.get_response(made_up)))


if not project.configured:
    project.configure(
        SECRET_KEY="not a secret",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.sessions", "moe_middleware"],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        MIDDLEWARE=MIDDLEWARE,
        ROOT_URLCONF=HERE,
        LANGUAGE_CODE="en",
        LANGUAGES=[("en", "English"), ("de", "German")],
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        },
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "loaders": [("django.template.loaders.locmem.Loader", PAGES)],
                    "context_processors": [
                        "django.template.context_processors.request"
                    ],
                },
            }
        ],
        WHITENOISE_ROOT=STATIC,
        LOGGING_CONFIG=None,
    )

urlpatterns = i18n_patterns(
    path("", home),
    path("late/", late),
    path("plain/", plain),
    path("preview/", preview),
    path("stream/", stream),
    path("async-stream/", async_stream),
)


def wsgi() -> Any:
    django.setup()
    return get_wsgi_application()


def asgi() -> Any:
    return lifespan(get_asgi_application())
