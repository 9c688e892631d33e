"""A Django project without a settings module: what its tests share."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings as project

SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
OURS = "moe_middleware.django.MoEngageMiddleware"

MIDDLEWARE = [SESSIONS, COMMON, AUTHENTICATION, OURS]

TAG = """{% load moengage %}{% experience "homepage-banner" as banner %}
<h1>{{ banner.Title }}</h1>{% else %}<h1>Welcome</h1>{% endexperience %}"""

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.locmem.Loader",
                    {"page.html": TAG},
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ],
        },
    },
]

if not project.configured:
    project.configure(
        SECRET_KEY="not a secret",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "django.contrib.sessions",
            "moe_middleware",
        ],
        MIDDLEWARE=MIDDLEWARE,
        TEMPLATES=TEMPLATES,
        ROOT_URLCONF="tests.django.urls",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ""}},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGGING_CONFIG=None,
    )
    django.setup()
