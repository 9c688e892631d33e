"""Keeps experiences out of Django's ``{% cache %}`` and similar tags."""

from __future__ import annotations

import logging
from copy import copy
from functools import wraps
from typing import TYPE_CHECKING, Any

from django.template import Context, NodeList
from django.templatetags.cache import CacheNode

from ..logs.log_lines import one_line
from ..models.payloads import Fingerprint
from ..personalizer.fragments import fragment, noting

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

logger = logging.getLogger(__name__)

OURS = "moe_middleware"
"""The attribute that marks a ``render`` as replaced."""


def keep_experiences_out() -> None:
    """Let no ``{% cache %}`` store a fragment in which experiences were used.

    It may read payloads that a fingerprint in its cache key tells apart. Django has no
    hook for this, so the node's ``render`` is replaced, also for tags that inherit from
    it, such as Wagtail's. Everything else stays as it is.
    """
    render = CacheNode.render
    if hasattr(render, OURS):
        return

    @wraps(render)
    def render_unless_personal(node: CacheNode, context: Context) -> str:
        outer = fragment.get()
        if outer is not None:
            # A fragment from the cache reads nothing.
            outer.reads(_covered(node, context))
        # A copy, as all threads share a template's nodes.
        twin = copy(node)
        watched = _Watched(node)
        twin.nodelist = watched  # type: ignore[assignment]
        try:
            return render(twin, context)
        except _Personal as personal:
            if personal.nodelist is not watched:
                raise
            _log_once(node)
            return personal.text

    setattr(render_unless_personal, OURS, True)
    CacheNode.render = render_unless_personal  # type: ignore[method-assign,assignment]


class _Watched:
    """A node list that raises ``_Personal`` instead of returning a personal text."""

    def __init__(self, node: CacheNode) -> None:
        self._node = node
        self._nodelist: NodeList = node.nodelist

    def render(self, context: Context) -> SafeString:
        with noting(_covered(self._node, context)) as noted:
            text = self._nodelist.render(context)
        if noted.personal:
            raise _Personal(self, text)
        return text

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nodelist, name)


class _Personal(Exception):
    """Carries a fragment's text past the cache."""

    def __init__(self, nodelist: _Watched, text: str) -> None:
        self.nodelist = nodelist
        self.text = text


def _covered(node: CacheNode, context: Context) -> frozenset[str]:
    """Return the keys whose payloads are part of a fragment's cache key."""
    values = [given.resolve(context) for given in getattr(node, "vary_on", ())]
    prints = [value for value in values if isinstance(value, Fingerprint)]
    return frozenset().union(*(one.keys for one in prints))


_logged: set[tuple[str, str]] = set()


def _log_once(node: CacheNode) -> None:
    """Log each fragment once; it is rendered again for every visitor."""
    name, origin = str(node.fragment_name), str(getattr(node, "origin", None))
    if (name, origin) not in _logged:
        _logged.add((name, origin))
        logger.warning(
            "fragment_not_kept fragment=%s template=%s: an experience is in it, which "
            "is one visitor's own: put its tag, and links that count, outside of "
            "{%% cache %%}, and request.experiences.fingerprint into its cache key",
            one_line(name),
            one_line(origin),
        )
