"""The extension of Flask and Quart apps: it wraps the app, and adds the tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from ..models.errors import DuplicateMiddlewareError
from ..settings.settings import Config
from . import MoEngageExtension

if TYPE_CHECKING:
    import flask
    import quart
    from jinja2 import Environment

App = TypeVar("App", "flask.Flask", "quart.Quart")

NAME = "moe_middleware"
"""The extension's name in ``app.extensions``."""


class AppExtension(Generic[App]):
    """Wraps apps of one framework; see the framework's own class."""

    def __init__(self, app: App | None = None, config: Config = None) -> None:
        self._config = config
        if app is not None:
            self.init_app(app)

    def init_app(self, app: App) -> None:
        """Wrap an app, and add the tag to its templates.

        Raises:
            SettingsError: The configuration is invalid; it lists every mistake.
            DuplicateMiddlewareError: The app is wrapped already.
        """
        if NAME in app.extensions:
            raise DuplicateMiddlewareError(
                f"MoEngage has been given the app {app.name!r} before: once is enough"
            )
        app.extensions[NAME] = self._wrap(app, self._config)
        _add_tag(app)

    def _wrap(self, app: App, config: Config) -> object:
        """Put the framework's door in place of the app; return the door."""
        raise NotImplementedError


def _add_tag(app: flask.Flask | quart.Quart) -> None:
    """Add the tag to the templates of an app.

    The app makes its environment when it first needs it, from settings that may still
    change, so it is not made here.
    """
    name = f"{MoEngageExtension.__module__}.{MoEngageExtension.__qualname__}"
    # A cached property: it is there once something has used it.
    if "jinja_env" in vars(app):
        app.jinja_env.add_extension(name)
        return
    create = app.create_jinja_environment

    def create_with_tag() -> Environment:
        environment: Environment = create()
        environment.add_extension(name)
        return environment

    app.create_jinja_environment = create_with_tag  # type: ignore[assignment, method-assign]
