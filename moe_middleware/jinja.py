"""The template door: ``{% experience "hero" as hero %}...{% endexperience %}``.

``{{ moe_script() }}`` and ``{{ moe_web_sdk() }}`` load the scripts for browsers.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from jinja2 import Environment, Template, nodes, pass_context
from jinja2.environment import TemplateModule
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context, Undefined
from jinja2.utils import missing

from .logs.log_lines import one_line
from .logs.repeated_lines import RepeatLogger
from .models.experience import Experience
from .models.experiences import Counting, Experiences, WebSDKApi
from .models.reasons import Reason
from .personalizer.current import current, on_event_loop
from .personalizer.fragments import fragment, note_personal, noting
from .personalizer.unmet_requests import is_request, note_unmet

if TYPE_CHECKING:
    import flask
    import quart

logger = logging.getLogger(__name__)
_lines: WeakKeyDictionary[Environment, RepeatLogger] = WeakKeyDictionary()

DEFAULT_NAME = "experience"
ENVIRON = "moe_middleware.experiences"

# Compiled templates call these names. They live in bytecode caches, which outlive a
# release: keep what they do, and only add other names.
FIND = "moe_middleware.find"
SHOW = "moe_middleware.show"
MEET = "moe_middleware.meet"


class MoEngageExtension(Extension):
    """Adds the tag ``experience`` to a Jinja environment, sync or async.

    It also adds two functions: ``moe_script(nonce)`` is ``Experiences.script``, and
    ``moe_web_sdk(*keys, nonce=..., api=...)`` is ``Experiences.web_sdk``.

    If the visitor has a match, the body is rendered, with the experience under the name
    after ``as``; else the ``else`` branch. A rendered body counts as an impression once
    the response is sent, unless ``impression=false`` follows the key.

    The experiences are the value ``experiences`` of the template's context, if it is an
    ``Experiences``; else those of its ``request``, of any framework; else those of the
    current request.
    """

    tags = {"experience"}  # noqa: RUF012  (jinja declares it mutable)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        # Filters are called directly. Methods of an extension go through Context.call,
        # which takes three times as long, and more in a sandbox.
        environment.filters[FIND] = _find
        environment.filters[SHOW] = _show
        environment.filters[MEET] = _meet
        environment.template_class = _personal(environment.template_class)
        environment.globals.setdefault("moe_script", _script)
        environment.globals.setdefault("moe_web_sdk", _web_sdk)

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        key = parser.parse_expression()
        if isinstance(key, nodes.Sub):
            # The result of a subtraction is no text; unquoted keys with a dash are one.
            parser.fail(
                "the key of the tag 'experience' is a subtraction: put the key in "
                "quotes, as in {% experience 'homepage-banner' %}",
                lineno,
            )
        impression: nodes.Expr = nodes.Const(True)
        name = DEFAULT_NAME
        while parser.stream.current.type != "block_end":
            parser.stream.skip_if("comma")
            if parser.stream.skip_if("name:as"):
                name = parser.parse_assign_target(name_only=True).name
            elif parser.stream.skip_if("name:impression"):
                parser.stream.expect("assign")
                impression = parser.parse_expression()
            else:
                token = parser.stream.current
                parser.fail(
                    "the tag 'experience' takes a key, then 'as NAME' and "
                    f"'impression=false', and not {token.value!r}",
                    token.lineno,
                )
        body = parser.parse_statements(("name:else", "name:endexperience"))
        otherwise: list[nodes.Node] = []
        if next(parser.stream).value == "else":
            otherwise = parser.parse_statements(("name:endexperience",), True)
        # Compiled to Jinja's own assignment and branch, so that autoescaping and nested
        # blocks work.
        target: nodes.Expr = nodes.Name(name, "store")
        # Outside of the blocks of a template that extends another, nothing is rendered
        # and nothing may count; only output nodes know this. If Jinja's parser does not
        # say that it is within a block, the faster way is not taken.
        in_block = "block" in getattr(parser, "_tag_stack", ())
        if in_block and isinstance(impression, nodes.Const):
            found = _call(MEET, key, nodes.Const(lineno), impression)
        else:
            # The impression's expression may use the experience, which must exist
            # first.
            all_of_them = parser.free_identifier()
            found = _call(FIND, key, nodes.Const(lineno))
            shown = _call(SHOW, all_of_them, nodes.Name(name, "load"), impression)
            target = nodes.Tuple([target, all_of_them], "store")
            body = [self._statement(shown), *body]
        branch = nodes.If(nodes.Name(name, "load"), body, [], otherwise)
        return nodes.Scope([nodes.Assign(target, found), branch]).set_lineno(lineno)

    def _statement(self, call: nodes.Expr) -> nodes.Stmt:
        """Return a node that calls only for the effect.

        The best node is an empty output: Jinja skips it where nothing is rendered, as
        outside of the blocks of a template that extends another. But with a
        ``finalize``, or with native types, an empty output would become a value.
        """
        environment = self.environment
        is_text = environment.concat is Environment.concat
        if is_text and environment.finalize is None:
            return nodes.Output([call])
        return nodes.ExprStmt(call)


def extend_app(app: flask.Flask | quart.Quart) -> None:
    """Add the tag to the templates of a Flask or Quart app.

    The app makes its environment when it first needs it, from settings that may still
    change, so it is not made here.
    """
    name = f"{MoEngageExtension.__module__}.{MoEngageExtension.__qualname__}"
    if "jinja_env" in vars(app):
        app.jinja_env.add_extension(name)
        return
    create = app.create_jinja_environment

    def create_with_tag() -> Environment:
        environment: Environment = create()
        environment.add_extension(name)
        return environment

    app.create_jinja_environment = create_with_tag  # type: ignore[assignment, method-assign]


def _call(name: str, first: nodes.Expr, *others: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(first, name, [*others], [], None, None)


_Found = tuple[Experience, Experiences]


@pass_context
def _meet(
    context: Context, key: object, lineno: int, impression: object
) -> Experience | Coroutine[Any, Any, Experience]:
    """Return the experience of a key; count it if it matches."""
    if (noted := fragment.get()) is not None:
        noted.personal = True
    experiences = experiences_of(context)
    counting: Counting | None = (
        impression if isinstance(impression, str) else None  # type: ignore[assignment]
    )
    if type(key) is str:
        experience = experiences.show(key, counting) if impression else experiences[key]
        if experience.reason not in _MISSED:
            return experience
    found = _find(context, key, lineno)
    if isinstance(found, tuple):
        if found[0]:
            _show(found[1], found[0], impression)
        return found[0]
    return _shown_when_ready(found, impression)


async def _shown_when_ready(
    found: Coroutine[Any, Any, _Found], impression: object
) -> Experience:
    experience, experiences = await found
    if experience:
        _show(experiences, experience, impression)
    return experience


_MISSED = frozenset({Reason.NOT_READY, Reason.NOT_REQUESTED})
"""The reason why a key needs more work, or a log line."""


@pass_context
def _find(
    context: Context, key: object, lineno: int
) -> _Found | Coroutine[Any, Any, _Found]:
    """Return the experience of a key, and all of them."""
    note_personal()
    experiences = experiences_of(context)
    if not isinstance(key, str):
        name = None
        if isinstance(key, Undefined):
            # A strict undefined raises here, as the environment wants.
            str(key)
            name = key._undefined_name
        given = type(key).__name__
        _warn(context, lineno, "experience_key_invalid", given=given, name=name)
        return Experience(key="", reason=Reason.NOT_REQUESTED), experiences
    experience = experiences[key]
    if experience.reason is Reason.NOT_READY:
        if context.environment.is_async:
            # Jinja awaits the result of a filter in an async template.
            return _when_ready(experiences, key)
        if not on_event_loop():
            return experiences.ready_sync()[key], experiences
        _warn(context, lineno, "experience_not_ready", key=key)
    elif experience.reason is Reason.NOT_REQUESTED:
        place = f"{context.name or '<template>'}:{lineno}"
        if (advice := experiences.unasked(key, place)) is not None:
            logger.warning(
                "experience_not_requested key=%s template=%s: %s",
                *(one_line(key), place, advice),
            )
    return experience, experiences


async def _when_ready(experiences: Experiences, key: str) -> _Found:
    return (await experiences.ready())[key], experiences


def _show(experiences: Experiences, experience: Experience, impression: object) -> str:
    if impression:
        counting: Counting | None = (
            impression if isinstance(impression, str) else None  # type: ignore[assignment]
        )
        experiences.show(experience.key, counting)
    return ""


@pass_context
def _script(context: Context, nonce: str | None = None) -> str:
    note_personal()
    return experiences_of(context).script(nonce)


@pass_context
def _web_sdk(
    context: Context,
    *keys: str | Experience,
    nonce: str | None = None,
    api: WebSDKApi = "web_p",
) -> str:
    note_personal()
    return experiences_of(context).web_sdk(*keys, nonce=nonce, api=api)


_ADVICE = {
    "experience_key_invalid": "a key is text: put it in quotes, as in "
    "{% experience 'hero' %}",
    "experience_not_ready": "a sync template cannot wait on the event loop: 'await "
    "experiences.ready()' in the handler, or prefetch: blocking",
}


def _warn(
    context: Context,
    lineno: int,
    outcome: str,
    *,
    name: str | None = None,
    **about: str,
) -> None:
    [(what, value)] = about.items()
    lines = _lines.get(context.environment)
    if lines is None:
        lines = _lines.setdefault(context.environment, RepeatLogger(logger))
    lines.log(
        logging.WARNING,
        f"{outcome} {what}=%s template=%s:%d: %s%s",
        *(one_line(value), context.name or "<template>", lineno),
        f"there is no variable {one_line(name)!r}, and " if name else "",
        _ADVICE[outcome],
    )


def experiences_of(context: Context) -> Experiences:
    """Return the experiences for a template.

    They are the value ``experiences`` of its context, else those of its ``request``,
    else those of the current request; without any, an object without matches.
    """
    # Jinja's own Context class has no other names than these.
    names, rest = context.vars, context.parent
    asks = type(context) is not Context
    request: object = missing
    if asks or "experiences" in names or "experiences" in rest:
        given = context.resolve_or_missing("experiences")
        # The app may have another value by this name.
        if isinstance(given, Experiences):
            return given
    if asks or "request" in names or "request" in rest:
        request = context.resolve_or_missing("request")
    found = None if request is missing else _of_request(request)
    if found is None:
        found = current.get()
    if found is not None:
        return found
    if is_request(request):
        note_unmet(context.name)
    return Experiences(missing=Reason.NO_REQUEST)


def _of_request(request: Any) -> Experiences | None:
    """Return the experiences that a door has attached to a framework's request."""
    try:
        # Django has them on the request, Sanic in its ctx.
        found = getattr(getattr(request, "ctx", request), "experiences", None)
        if not isinstance(found, Experiences):
            environ = getattr(request, "environ", None)
            if environ is not None:
                found = environ.get(ENVIRON)
            else:
                found = request.scope["state"]["experiences"]
    except Exception:
        # No such attribute; or a proxy, which may raise anything without a request.
        return None
    return found if isinstance(found, Experiences) else None


class _PersonalTemplate(Template):
    """A template whose rendered tags are not cached.

    Jinja renders a template that is included or imported without context only once, for
    all visitors.
    """

    def _get_default_module(self, ctx: Context | None = None) -> TemplateModule:
        if self._is_made(ctx) or self.environment.is_async:
            return super()._get_default_module(ctx)
        with noting() as noted:
            module = self.make_module()
        if not noted.personal:
            self._module = module
        return module

    async def _get_default_module_async(
        self, ctx: Context | None = None
    ) -> TemplateModule:
        if self._is_made(ctx):
            return await super()._get_default_module_async(ctx)
        with noting() as noted:
            module = await self.make_module_async()
        if not noted.personal:
            self._module = module
        return module

    def _is_made(self, ctx: Context | None) -> bool:
        """Whether it is prepared already, or is rendered anew every time."""
        if ctx is not None and ctx.globals_keys - self.globals.keys():
            return True
        return self._module is not None


def _personal(kind: type[Template]) -> type[Template]:
    if issubclass(kind, _PersonalTemplate):
        return kind
    return type(f"Personal{kind.__name__}", (_PersonalTemplate, kind), {})
