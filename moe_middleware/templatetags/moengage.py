"""Django's template door: ``{% load moengage %}{% experience "hero" as hero %}...``.

``{% moe_script %}`` and ``{% moe_web_sdk %}`` load the scripts for browsers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from copy import copy
from typing import Any, cast

from django.template import (
    Context,
    Library,
    Node,
    NodeList,
    Origin,
    TemplateSyntaxError,
)
from django.template.base import FilterExpression, Parser, Token

from ..django.fragment_caches import keep_experiences_out
from ..logs.log_lines import one_line
from ..models.experience import Elements, Experience, bind, elements_of, note_missing
from ..models.experiences import Counting, Experiences, WebSDKApi
from ..models.reasons import Reason
from ..personalizer.current import current, on_event_loop
from ..personalizer.fragments import fragment, note_personal
from ..personalizer.unmet_requests import unmet

logger = logging.getLogger(__name__)

DEFAULT_NAME = "experience"

_SWITCHES = {"true": "True", "false": "False"}


class ExperienceNode(Node):
    """Renders its body if the visitor has a match, else the ``else`` branch."""

    child_nodelists = ("body", "otherwise")

    def __init__(
        self,
        key: FilterExpression,
        name: str,
        impression: FilterExpression | None,
        body: NodeList,
        otherwise: NodeList,
    ) -> None:
        self.key = key
        self.name = name
        self.impression = impression
        self.body = body
        self.otherwise = otherwise
        # An iterator, so that only one of several threads gets the value.
        self._unlogged = iter((True,))

    def render(self, context: Context) -> str:
        # From a cache, nothing would be counted.
        note_personal()
        experiences = experiences_of(context)
        found = _find(
            experiences, self.key.resolve(context), self.origin, self._unlogged
        )
        with context.push():
            # A layer of ours tells {% cache %} what a fragment reads.
            context.dicts[-1] = _Layer({self.name: found})
            if not found:
                return str(self.otherwise.render(context))
            shows: object = (
                self.impression.resolve(context) if self.impression else True
            )
            if shows:
                # ``show`` refuses any other word.
                counting = cast(Counting, shows) if isinstance(shows, str) else None
                experiences.show(found.key, counting)
            return str(self.body.render(context))


class _Layer(dict[str, Any]):
    """A layer of a context with values of one visitor."""

    def __getitem__(self, name: str) -> Any:
        value, noted = super().__getitem__(name), fragment.get()
        if noted is None:
            return value
        if not isinstance(value, Experience):
            # A tag has assigned it: its content is unknown.
            noted.personal = True
            return value
        if not noted.reads(frozenset({value.key})):
            return value
        elements = elements_of(value)
        if elements is not None:
            # A copy: used outside of the fragment, it makes nothing personal.
            value = copy(value)
            bind(value, _PersonalElements(elements))
        return value

    def __iter__(self) -> Iterator[str]:
        # With its own ``keys``, dict.update reads the items one by one, as above.
        return super().__iter__()


class _PersonalElements:
    """Elements whose use makes a fragment personal: their links are one visitor's."""

    def __init__(self, elements: Elements) -> None:
        self._elements = elements

    def click_url(self, experience: Experience, target: object, b_id: object) -> str:
        note_personal()
        return self._elements.click_url(experience, target, b_id)

    def attrs(self, experience: Experience, b_id: object) -> str:
        note_personal()
        return self._elements.attrs(experience, b_id)

    def miss(self, experience: Experience, name: str) -> None:
        self._elements.miss(experience, name)


def experience(parser: Parser, token: Token) -> ExperienceNode:
    """Parse ``{% experience KEY [impression=False] [as NAME] %}``."""
    tag, *bits = token.split_contents()
    if not bits:
        raise TemplateSyntaxError(_USE.format(tag=tag))
    key = _compiled_key(parser, bits.pop(0), tag)
    name, impression = DEFAULT_NAME, None
    while bits:
        bit = bits.pop(0)
        option, found, value = bit.partition("=")
        if bit == "as" and bits and bits[0].isidentifier():
            name = bits.pop(0)
        elif option == "impression" and found:
            impression = parser.compile_filter(_SWITCHES.get(value.lower(), value))
        else:
            raise TemplateSyntaxError(f"{_USE.format(tag=tag)}, and not {bit!r}")
    body = parser.parse(("else", f"end{tag}"))
    otherwise = NodeList()
    if parser.next_token().contents == "else":
        otherwise = parser.parse((f"end{tag}",))
        parser.delete_first_token()
    return ExperienceNode(key, name, impression, body, otherwise)


def _compiled_key(parser: Parser, key: str, tag: str) -> FilterExpression:
    try:
        return parser.compile_filter(key)
    except TemplateSyntaxError as error:
        raise TemplateSyntaxError(
            f"{error}: if {key} is the key of the tag {tag!r}, put it in quotes"
        ) from error


_USE = "the tag {tag!r} takes a key, then 'as NAME' and 'impression=False'"


def value(experience: object, name: str) -> object:
    """Return a payload value by any name: ``{{ hero|value:"CTA Label" }}``.

    It is empty if there is none.
    """
    if not isinstance(experience, Experience):
        return ""
    if name not in experience:
        note_missing(experience, str(name))
    return experience.get(name, "")


def fingerprint(experiences: object, keys: str = "") -> str:
    """Return ``experiences.fingerprint`` of keys: ``{{ all|fingerprint:"a,b" }}``."""
    if not isinstance(experiences, Experiences):
        return ""
    return experiences.fingerprint(*keys.replace(",", " ").split())


def click_url(experience: object, target: str, b_id: str | None = None) -> str:
    """Return the link for an element: ``{% click_url hero "/shop" "Shop Now" %}``."""
    return _known(experience).click_url(target, b_id)


def attrs(experience: object, b_id: str | None = None) -> str:
    """Return the attributes of an element: ``<a {% attrs hero "Shop Now" %} ...>``."""
    return _known(experience).attrs(b_id)


def moe_script(context: Context, nonce: str | None = None) -> str:
    """Return our script's element: ``{% moe_script nonce=request.csp_nonce %}``."""
    return experiences_of(context).script(nonce)


def moe_web_sdk(
    context: Context,
    *keys: str | Experience,
    nonce: str | None = None,
    api: WebSDKApi = "web_p",
) -> str:
    """Return the Web SDK's elements: ``{% moe_web_sdk nonce=request.csp_nonce %}``."""
    return experiences_of(context).web_sdk(*keys, nonce=nonce, api=api)


def _known(experience: object) -> Experience:
    return experience if isinstance(experience, Experience) else Experience(key="")


keep_experiences_out()

register = Library()
register.tag("experience", experience)
register.filter("value", value)
register.filter("fingerprint", fingerprint)
register.simple_tag(click_url)
register.simple_tag(attrs)
register.simple_tag(moe_script, takes_context=True)
register.simple_tag(moe_web_sdk, takes_context=True)


def experiences_of(context: Context) -> Experiences:
    """Return the experiences of the request that a template is rendered for.

    The value ``experiences`` of its context, else its request's, else those of the
    current request.
    """
    given = context.get("experiences")
    if isinstance(given, Experiences):
        return given
    request = getattr(context, "request", None) or context.get("request")
    found = getattr(request, "experiences", None)
    if found is None:
        found = current.get()
    if found is not None:
        return cast(Experiences, found)
    template = getattr(context, "template", None)
    return unmet(request, getattr(template, "name", None))


def _find(
    experiences: Experiences, key: object, template: Origin, unlogged: Iterator[bool]
) -> Experience:
    if not isinstance(key, str):
        if next(unlogged, False):
            logger.warning(
                "experience_key_invalid template=%s given=%s: put the key in quotes",
                *(template, type(key).__name__),
            )
        return Experience(key="", reason=Reason.NOT_REQUESTED)
    found = experiences[key]
    if found.reason is Reason.NOT_READY:
        if not on_event_loop():
            return experiences.ready_sync()[key]
        logger.warning(
            "experience_not_ready key=%s template=%s: a template cannot wait here: "
            "'await request.experiences.ready()' in the view, or prefetch: blocking",
            one_line(key),
            template,
        )
    elif (
        found.reason is Reason.NOT_REQUESTED
        and (advice := experiences.advice_on(key, str(template))) is not None
    ):
        logger.warning(
            "experience_not_requested key=%s template=%s: %s",
            *(one_line(key), template, advice),
        )
    return found
