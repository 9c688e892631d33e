"""The template door: ``{% experience "hero" as hero %}...{% endexperience %}``."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context

from .current import current, on_event_loop
from .models import Experience, Experiences, Reason

logger = logging.getLogger(__name__)

DEFAULT_NAME = "experience"


class MoEngageExtension(Extension):
    """Adds the tag ``experience`` to a Jinja environment, sync or async.

    The body is rendered where the visitor has a match, with the experience under the
    name after ``as``; else the ``else`` branch is. A rendered body counts as an
    impression once the response is sent, unless ``impression=false`` follows the key.
    """

    tags = {"experience"}  # noqa: RUF012  (jinja declares it mutable)

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        key = parser.parse_expression()
        impression: nodes.Expr = nodes.Const(True)
        name = DEFAULT_NAME
        while parser.stream.current.type != "block_end":
            parser.stream.skip_if("comma")
            if parser.stream.skip_if("name:as"):
                name = parser.stream.expect("name").value
            elif parser.stream.skip_if("name:impression"):
                parser.stream.expect("assign")
                impression = parser.parse_expression()
            else:
                parser.fail(
                    "the tag 'experience' takes a key, then 'as NAME' and "
                    "'impression=false'",
                    parser.stream.current.lineno,
                )
        body = parser.parse_statements(("name:else", "name:endexperience"))
        otherwise: list[nodes.Node] = []
        if next(parser.stream).value == "else":
            otherwise = parser.parse_statements(("name:endexperience",), True)
        # Compiled to an assignment and a branch of the template's own, so that
        # autoescaping and block nesting stay Jinja's business. Marking is an output
        # of its own, which Jinja skips where nothing is put out: outside of the
        # blocks of a template that extends another.
        found = self._call("_find", key)
        marked = self._call("_mark", nodes.Name(name, "load"), impression)
        return nodes.Scope(
            [
                nodes.Assign(nodes.Name(name, "store"), found),
                nodes.If(
                    nodes.Name(name, "load"),
                    [nodes.Output([marked]), *body],
                    [],
                    otherwise,
                ),
            ],
        ).set_lineno(lineno)

    def _call(self, method: str, *args: nodes.Expr) -> nodes.Call:
        return self.call_method(method, [*args, nodes.ContextReference()])

    def _find(
        self, key: Any, context: Context
    ) -> Experience | Coroutine[Any, Any, Experience]:
        if not isinstance(key, str):
            logger.warning(
                "experience_key_invalid template=%s given=%s expected=str",
                context.name,
                type(key).__name__,
            )
            return Experience(key="", reason=Reason.NOT_REQUESTED)
        experiences = experiences_of(context)
        experience = experiences[key]
        if experience.reason is Reason.NOT_READY:
            if self.environment.is_async:
                # Jinja awaits what a call in an async template returns.
                return _when_ready(experiences, key)
            if not on_event_loop():
                return experiences.ready_sync()[key]
            logger.warning(
                "experience_not_ready key=%s template=%s: a sync template cannot wait: "
                "'await experiences.ready()' in the handler, or prefetch: blocking",
                key,
                context.name,
            )
        elif experience.reason is Reason.NOT_REQUESTED:
            logger.warning(
                "experience_not_requested key=%s template=%s: name it in a route of "
                "moe.yml, or 'await experiences.fetch(...)' in the handler",
                key,
                context.name,
            )
        return experience

    def _mark(self, experience: Experience, impression: Any, context: Context) -> str:
        if impression:
            experiences_of(context).show(experience.key)
        return ""


async def _when_ready(experiences: Experiences, key: str) -> Experience:
    return (await experiences.ready())[key]


def experiences_of(context: Context) -> Experiences:
    """Return the experiences of the request that a template is rendered for.

    The current request's; where a thread of the app's own has lost it, those of the
    ``request`` in the template's context.
    """
    found = current.get()
    if found is None:
        scope = getattr(context.get("request"), "scope", None)
        found = scope.get("state", {}).get("experiences") if scope else None
    return Experiences(missing=Reason.NO_REQUEST) if found is None else found
