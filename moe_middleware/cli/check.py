"""The command ``check``: tries a configuration and shows what it does."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..models.errors import Problem, SettingsError
from .command_settings import settings_of
from .terminal import printable, stop, table

if TYPE_CHECKING:
    from ..settings.settings import Route, Settings
    from ..settings.workspaces import Workspace


@click.command(
    epilog="""\b
Examples:
  moe-middleware check
  moe-middleware check deploy/moe.yml
  moe-middleware check --live                   asks the workspace
  moe-middleware check --templates templates    finds tags without a route
  moe-middleware check --types shop_types --customer 42   compares payloads
  MOE_DATA_CENTER=sandbox moe-middleware check  without any credentials

Every mistake is one line on stderr, FILE:LINE: WHERE: WHAT; the exit code is then 1.
A line about a probable mistake begins with "warning:" and changes no exit code."""
)
@click.argument("file", required=False, type=click.Path(readable=False))
@click.option("--config", metavar="FILE", help="The same as FILE.")
@click.option(
    "--live",
    is_flag=True,
    help="Ask the workspace too: each key, the routes' experiences and the clock.",
)
@click.option(
    "--static",
    is_flag=True,
    help="Read the file only: import nothing, connect to nothing, need no variable. "
    "For commit hooks.",
)
@click.option(
    "--templates",
    metavar="DIR",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Jinja or Django templates whose tags' keys a route must name. Repeatable.",
)
@click.option(
    "--fetched",
    metavar="KEY",
    multiple=True,
    help="A key that handlers fetch, so that no route need name it. Repeatable.",
)
@click.option(
    "--types",
    metavar="MODULE",
    multiple=True,
    help="A module of 'moe-middleware types', or MODULE:NAME of a mapping from keys to "
    "classes, to compare with the payloads. Repeatable.",
)
@click.option(
    "--workspace",
    metavar="FILE",
    type=click.Path(path_type=Path, readable=False),
    help="A sandbox's workspace file: its payloads are compared with the templates' "
    "names and the types.",
)
@click.option(
    "--customer",
    "customers",
    metavar="ID",
    multiple=True,
    help="The same with what the workspace answers for a customer. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def check(
    file: str | None,
    config: str | None,
    live: bool,
    static: bool,
    templates: tuple[Path, ...],
    fetched: tuple[str, ...],
    types: tuple[str, ...],
    workspace: Path | None,
    customers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check FILE (moe.yml), try all that it needs, and show its routes.

    Functions that the file names (call: pkg.mod:function) are imported, its Redis is
    connected to, and its files are tried. It leaves nothing behind.
    """
    if file is not None and config is not None:
        raise click.UsageError("give FILE or --config, not both")
    if static and (live or types or customers):
        raise click.UsageError("--static reads files only: leave the others out")
    if types and workspace is None and not customers:
        raise click.UsageError("--types needs --customer or --workspace beside it")
    try:
        settings = settings_of(file or config, **(placeholders() if static else {}))
    except SettingsError as error:
        problems = [one for one in error.problems if not (static and one.unset)]
        unset = [
            f"{one}. It is taken as set; templates are not read"
            for one in error.problems
        ]
        _report(problems, {} if problems else {"warnings": unset}, as_json)
        return
    problems = []
    if not static:
        from .checks import check as problems_of

        problems += problems_of(settings)
    about = _about(settings)
    if live:
        answers = _ask(settings)
        problems += answers.problems
        about["live"] = dict(answers.lines)
    # Templates are read without their loader: any tag may be on any route's page.
    wanted = {key for route in settings.routes for key in route.experiences}
    found = _read_templates(templates)
    problems += [*found.problems, *_unmapped(found.tags, wanted | set(fetched))]
    if templates:
        about["tags"] = len(found.tags)
    about["warnings"] = [str(doubt) for doubt in settings.doubts()]
    if workspace is not None or customers:
        from .payload_checks import unfit_types, unknown_names, unseen_keys
        from .types import payloads_of

        known = payloads_of(workspace or settings, customers)
        problems += unknown_names(found.names, known)
        for target in types:
            problems += unfit_types(target, known)
            unseen = unseen_keys(target, known)
            about["warnings"] += [f"{target}: {key}: {_UNSEEN}" for key in unseen]
    _report(problems, about, as_json)


def placeholders() -> dict[str, Any]:
    """Return credentials that stand for those of the environment."""
    names = {"workspace_id": "MOE_WORKSPACE_ID", "api_key": "MOE_API_KEY"}
    return {
        name: "of-the-environment"
        for name, variable in names.items()
        if variable not in os.environ and f"{variable}_FILE" not in os.environ
    }


def _ask(settings: Settings) -> Any:
    import asyncio

    from .checks import check_live

    return asyncio.run(check_live(settings))


def _report(problems: Sequence[Problem], about: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"ok": not problems, **_as_json(problems, about)}))
        raise SystemExit(1 if problems else 0)
    for doubt in about.get("warnings", ()):
        click.echo(printable(f"warning: {doubt}"), err=True)
    if problems:
        stop(problems)
    if "settings" not in about:
        return
    click.echo("\n".join(table(about["settings"].items())))
    if live := about.get("live"):
        click.echo("\n" + "\n".join(table(live.items())))
    click.echo("\n" + "\n".join(_route_lines(about["routes"])))
    if (tags := about.get("tags")) is not None:
        noun = "tag" if tags == 1 else "tags"
        click.echo(f"\n{tags} {noun} with a key in the templates, all asked for")


def _as_json(problems: Sequence[Problem], about: dict[str, Any]) -> dict[str, Any]:
    found = [
        {"file": one.file, "line": one.line, "where": one.where, "message": one.message}
        for one in problems
    ]
    routes = [
        {
            "path": route.path,
            "methods": route.methods,
            "hosts": route.hosts,
            "experiences": route.experiences,
            "attributes": {name: str(one) for name, one in route.attributes.items()},
        }
        for route in about.get("routes", ())
    ]
    return {"problems": found, **about, "routes": routes}


# --- what the file says -----------------------------------------------------------


def _about(settings: Settings) -> dict[str, Any]:
    workspace, cache = settings.workspace, settings.cache
    count = len(workspace.keys)
    shared = str(cache.redis) if cache.redis is not None and cache.ttl else ""
    calls = f"{settings.budget.calls_per_minute} calls a minute"
    rows = {
        "workspace": workspace.id,
        "api key": "1 key, hidden" if count == 1 else f"{count} keys, hidden",
        "data center": _data_center_text(workspace),
        "asks": "the embedded sandbox" if workspace.embedded else workspace.url,
        "cache": shared or "memory:",
        "budget": f"{settings.budget.store} ({calls})",
        "outbox": str(settings.events.outbox),
        "secret key": _secret_key_text(settings),
    }
    return {"settings": rows, "routes": settings.routes}


def _data_center_text(workspace: Workspace) -> str:
    if workspace.base_url is None:
        return workspace.data_center
    return "-, as base_url names the server"


def _secret_key_text(settings: Settings) -> str:
    from ..settings.secret_keys import WITHOUT, weakness

    secrets = [key.get_secret_value() for key in settings.secret_key or ()]
    if not secrets:
        return f"none: {WITHOUT}"
    count = "1 key" if len(secrets) == 1 else f"{len(secrets)} keys"
    weak = weakness(secrets)
    return f"{count}, hidden; {weak}" if weak else f"{count}, hidden"


def _route_lines(routes: Sequence[Route]) -> list[str]:
    if not routes:
        return ["no routes"]
    heads = ("METHODS", "PATH", "HOSTS", "EXPERIENCES", "ATTRIBUTES")
    return table([heads, *(_route_row(route) for route in routes)])


def _route_row(route: Route) -> tuple[str, ...]:
    attributes = [f"{name} ({source})" for name, source in route.attributes.items()]
    return (
        ",".join(route.methods or ("any",)),
        route.path,
        ",".join(route.hosts or ("any",)),
        ", ".join(route.experiences),
        ", ".join(attributes) or "-",
    )


# --- templates --------------------------------------------------------------------


_UNSEEN = "no payload of it is known, so its type was not compared"


class _Templates(NamedTuple):
    """The tags and values that templates use.

    Attributes:
        tags: Each tag's file, line and key.
        names: The payload names that are read: file, line, key and name.
        problems: The problems of unreadable files.
    """

    tags: list[tuple[str, int, str]]
    names: list[tuple[str, int, str, str]]
    problems: list[Problem]


def _read_templates(places: Iterable[Path]) -> _Templates:
    from jinja2 import Environment, TemplateSyntaxError

    from .template_keys import read_names, tagged_keys

    templates = _Templates([], [], [])
    environment = Environment(autoescape=True)
    for path in _files(places):
        source = path.read_bytes()
        # Files without a tag may have any encoding.
        if _TAG.search(source) is None:
            continue
        text = source.decode(errors="replace")
        try:
            keys, names = tagged_keys(environment, text), read_names(environment, text)
        except TemplateSyntaxError as error:
            message = f"no template: {error.message}"
            problem = Problem(
                where="", message=message, file=str(path), line=error.lineno
            )
            templates.problems.append(problem)
        else:
            templates.tags.extend((str(path), line, key) for key, line in keys)
            templates.names.extend(
                (str(path), line, key, name) for key, name, line in names
            )
    return templates


_TAG = re.compile(rb"\{%[-+]?\s*experience\b")


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_file():
            yield place
        else:
            yield from sorted(path for path in place.rglob("*") if path.is_file())


def _unmapped(
    tags: Iterable[tuple[str, int, str]], wanted: Collection[str]
) -> Iterator[Problem]:
    """Yield a problem for each tag with a key that no route has."""
    for file, line, key in tags:
        if key not in wanted:
            message = f"no route asks for {key!r}: {_nearest(key, wanted)}"
            yield Problem(where="", message=message, file=file, line=line)


def _nearest(key: str, wanted: Collection[str]) -> str:
    near = get_close_matches(key, wanted, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"name it in a route, or pass --fetched {key} where a handler fetches it"
