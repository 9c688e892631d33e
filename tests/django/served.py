"""The project as servers run it, in processes of their own.

``gunicorn 'tests.django.served:wsgi()'`` and ``uvicorn --factory
tests.django.served:asgi``, with the settings that ``MOE_CONFIG`` names and the database
that ``DJANGO_DATABASE`` names.
"""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.db import connections

from moe_middleware.django import lifespan

from . import project

assert project.MIDDLEWARE
connections["default"].settings_dict["NAME"] = os.environ["DJANGO_DATABASE"]


def wsgi() -> Any:
    return get_wsgi_application()


def asgi() -> Any:
    return lifespan(get_asgi_application())
