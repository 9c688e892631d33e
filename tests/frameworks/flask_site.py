"""A Flask shop as they grow: users, a language, things opened and closed per request.

``gunicorn tests.frameworks.flask_site:app``, with the settings that ``MOE_CONFIG``
names.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import flask
from flask import Flask, g, render_template_string, request
from flask_babel import (  # type: ignore[import-untyped]
    Babel,
    format_date,
    get_locale,
)
from flask_login import (  # type: ignore[import-untyped]
    LoginManager,
    UserMixin,
    current_user,
    login_user,
    logout_user,
)
from werkzeug.middleware.proxy_fix import ProxyFix

from moe_middleware import Visit
from moe_middleware.flask import MoEngage

from ..sites import PAGE

app = Flask(__name__)
app.secret_key = "a secret of this site's"


class Member(UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


def chosen_locale() -> str | None:
    """Choose by the user, else by the browser, as Flask-Babel's guide does."""
    g.chosen += 1
    if current_user.get_id() == "dave":
        return "de"
    return request.accept_languages.best_match(["en", "de"])


def language(_: Visit) -> str:
    """Return what Flask-Babel has chosen, or chooses now."""
    return str(get_locale())


@app.before_request
def begin() -> None:
    g.members = {name: Member(name) for name in ("alice", "dave")}
    g.loaded = g.chosen = 0


@app.teardown_request
def end(_: BaseException | None) -> None:
    del g.members


def load(name: str) -> Member | None:
    g.loaded += 1
    found: Member | None = g.members.get(name)
    return found


LoginManager(app).user_loader(load)
Babel(app, locale_selector=chosen_locale)


@app.get("/")
def home() -> str:
    who = current_user.get_id()
    today = format_date(date(2026, 10, 30), "MMMM")
    page = render_template_string(PAGE)
    return f"{who}:{g.loaded}:{g.chosen}:{today}:{page}"


@app.post("/enter/<name>")
def enter(name: str) -> Any:
    login_user(g.members[name])
    return flask.redirect("/")


@app.post("/leave")
def leave() -> Any:
    logout_user()
    return flask.redirect("/")


MoEngage(app)
app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
