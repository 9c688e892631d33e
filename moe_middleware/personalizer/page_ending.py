"""The end of a page's HTML: a preview's badge, and the overlay for developers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ..browser.html_endings import EndingWriter, is_encoded, is_html, is_page_load
from ..browser.overlay_access import OVERLAY
from ..browser.overlay_element import nonce_in, overlay_element
from ..browser.preview_links import Preview
from ..browser.sandbox_pages import PAGES
from ..browser.sandbox_variations import variation_names
from ..models.experience import Experience
from ..models.reasons import Reason, Source
from ..models.texts import Headers
from ..settings.value_sources import ValueSource
from ..visitors.page_views import is_prefetch
from ..visitors.visitor import NO_VISIT, Visitor
from .impressions import Impressions
from .overlay_notes import OverlayNotes

LONGEST_VALUE = 200
"""Characters of a payload value, or an attribute, that the overlay shows."""

MOST_VALUES = 30
"""Payload values of an experience that the overlay shows."""


class PageEnding(Impressions):
    """The methods of a page that add to the end of its HTML."""

    __slots__ = ()

    def ending_for(self, status: int, headers: Headers) -> EndingWriter | None:
        """Return what adds to the end of an HTML response; None for others.

        The response must have no length: see ``for_longer_body``.
        """
        if self.visit.method == "HEAD" or not is_html(status, headers):
            return None
        badge, notes = self.badge(), self._overlay_notes
        if not badge and notes is None:
            return None
        if is_encoded(headers):
            self.miss_ending("compressed")
            return None

        def make() -> bytes:
            if notes is None:
                return badge.encode()
            return self._overlay(notes, status, badge, nonce_in(headers)).encode()

        return EndingWriter(make, is_wanted=is_page_load(self.visit))

    def miss_ending(self, body: str) -> None:
        """Log, once, that nothing can be added to a page.

        Args:
            body: Why, in a word: ``compressed`` or ``file``.
        """
        if is_page_load(self.visit):
            is_overlay = self._overlay_notes is not None
            what = "overlay" if is_overlay and not self.is_preview else "preview_badge"
            self._engine.miss_ending(what, body)

    def _without(self, given: object) -> Experience:
        found = super()._without(given)
        notes = self._overlay_notes
        if notes is not None and found.source is Source.FALLBACK and found.key:
            notes.miss(found.key, found.reason)
        return found

    # --- the overlay -----------------------------------------------------------------

    def _note_waits(self, found: Sequence[Experience]) -> None:
        if self._overlay_notes is not None:
            self._overlay_notes.end([one.key for one in found], self._waited_so_far)

    def _overlay(
        self, notes: OverlayNotes, status: int, badge: str, nonce: str | None
    ) -> str:
        """Return the overlay's elements; a failure leaves the page as it is."""
        try:
            about = self._described(notes, status)
            return overlay_element(self._own_path, about, badge, nonce or self._nonce)
        except Exception as error:
            self._failed("overlay_failed", error)
            return badge

    def _described(self, notes: OverlayNotes, status: int) -> Mapping[str, Any]:
        engine, match, preview = self._engine, self._match, self._preview
        access = engine.overlay
        assert access is not None
        late = dict.fromkeys(self.pending, Reason.NOT_READY)
        missing = {**notes.missing, **late}
        keys = [*self._found, *(key for key in missing if key not in self._found)]
        explain = self._explain_link()
        return {
            "own": f"{self._own_path}/{OVERLAY}/",
            "path": _short(self.visit.path),
            "status": status,
            "routes": [route.path for route, _ in match.routes] if match else [],
            "waited": _milliseconds(self._waited),
            "budget": _milliseconds(self._budget),
            "visitor": self._described_visitor(),
            "experiences": [
                self._described_key(key, missing, notes, status, explain)
                for key in keys
            ],
            "preview": (
                {"key": preview.key, "variation": preview.variation}
                if isinstance(preview, Preview)
                else None
            ),
            "previews": engine.previews is not None,
            "sandbox": self._sandbox_pages(),
            "embedded": engine.settings.workspace.embedded,
            "leave": not access.for_all,
        }

    def _described_key(
        self,
        key: str,
        missing: Mapping[str, Reason | None],
        notes: OverlayNotes,
        status: int,
        explain: str | None,
    ) -> Mapping[str, Any]:
        given = self._found.get(key)
        if given is None:
            found = Experience(key=key, reason=missing[key])
        else:
            found = self._made(key, given)
        variation, preview = found.variation, self._preview
        if isinstance(preview, Preview) and found.source is Source.PREVIEW:
            variation = preview.variation
        counts, why = self._judged(found, status)
        if found.reason in (Reason.NOT_REQUESTED, Reason.NO_REQUEST):
            explain = None
        return {
            "key": key,
            "matches": bool(found),
            "variation": variation,
            "audience": found.audience,
            "source": found.source,
            "reason": found.reason,
            "ms": _milliseconds(notes.waits.get(key, 0.0)),
            "counts": counts,
            "why": why,
            "payload": {
                str(name): _short(_json(found.payload[name]))
                for name in [*found.payload][:MOST_VALUES]
            },
            "explain": explain and f"{explain}&{urlencode({'experience': key})}",
            "variations": self._offered(key),
        }

    def _judged(self, found: Experience, status: int) -> tuple[str, str]:
        """Return whether an impression counts (yes, later, no), and why or when.

        The rules are those of ``show`` and ``record``.
        """
        key = found.key
        if not found:
            return "no", "there is nothing to show"
        if key in self._tracked:
            return "yes", "track_impression() counted it"
        if (barrier := self._barrier()) is not None:
            return "no", barrier
        if key in self._left_to_sdk:
            return "later", "by MoEngage's Web SDK, in the browser"
        if self._elements is not None and self._elements.sight(key) is not None:
            return "later", "once it is visible for a second"
        if key not in (self._shown or {}):
            return "no", "no tag and no show() has shown it"
        if not (200 <= status < 300 or status == 304):
            return "no", f"the response's status is {status}"
        return "yes", "once, with this response"

    def _barrier(self) -> str | None:
        """Return the reason why nothing on this page counts; None if there is none."""
        visitor = self._visitor
        if self.is_preview:
            return "this page shows a preview"
        if not self._counts:
            return "the page has called count(False)"
        if visitor is not None and not visitor.consents:
            return "the visitor has not consented"
        if self._engine.visitors.is_bot(self.visit):
            return "the visitor is a bot"
        if visitor is None or visitor.reporting_id is None:
            return "the visitor has no id"
        if is_prefetch(self.visit):
            return "the page is prefetched"
        return None

    def _described_visitor(self) -> Mapping[str, Any]:
        """Return the visitor as this request identified them."""
        visitor, wanted = self._visitor, self._engine.settings.identity
        if visitor is None:
            # Nothing is looked up only to be shown.
            mapped = self._match is not None
            is_bot = mapped and self._engine.visitors.is_bot(self.visit)
            return {"is": "bot" if is_bot else "unknown"}
        attributes = self._attributes_of(visitor)
        sent = {name: _short(attributes[name]) for name in attributes}
        if not visitor.consents:
            return {"is": "without consent", "sent": sent}
        ids: list[Mapping[str, str]] = []
        if visitor.customer_id is not None:
            ids.append(_id("customer_id", visitor.customer_id, wanted.customer_id))
        if visitor.visitor_id is not None:
            ours = wanted.anonymous_cookie
            source: ValueSource | str = wanted.visitor_id
            if visitor.is_new:
                source = f"cookie {ours}, new"
            elif self.visit.cookie(ours) == visitor.visitor_id:
                source = f"cookie {ours}"
            ids.append(_id("visitor_id", visitor.visitor_id, source))
        for name, value in visitor.user_identifiers.items():
            ids.append(_id(name, value, wanted.user_identifiers[name]))
        known = visitor.customer_id is not None
        return {
            "is": "a customer" if known else "anonymous",
            "ids": ids,
            "sent": sent,
        }

    def _attributes_of(self, visitor: Visitor) -> Mapping[str, str]:
        """Return the in-session attributes of this page's fetches."""
        visit = self.visit if visitor.consents else NO_VISIT
        return self._engine.visitors.session_attributes(visit, visitor.attributes)

    # --- the sandbox -------------------------------------------------------------

    def _sandbox_pages(self) -> str | None:
        """Return the address of the sandbox's pages; None if they are not served."""
        workspace = self._engine.settings.workspace
        if workspace.embedded:
            shown = workspace.pages == "on"
            return f"{self._own_path}/{PAGES}/" if shown else None
        if workspace.data_center == "sandbox":
            return workspace.url.removesuffix("v1")
        return None

    def _explain_link(self) -> str | None:
        """Return the address of the sandbox's explanation for this visitor."""
        pages, visitor = self._sandbox_pages(), self._visitor
        if pages is None or visitor is None:
            return None
        fields = _fields(visitor, self._attributes_of(visitor))
        return f"{pages}explain?{urlencode([*fields])}"

    def _offered(self, key: str) -> list[str]:
        """Return the variations that the embedded sandbox has of a key."""
        engine = self._engine
        if engine.previews is None or not engine.settings.workspace.embedded:
            return []
        return variation_names(key)


_FORM_FIELDS = {
    "TIME_OF_THE_DAY": "hour",
    "DAY_OF_THE_WEEK": "day",
    "USER_IP_ADDRESS": "ip",
    "USER_AGENT": "user_agent",
}
"""The attributes that have a field of their own in the sandbox's form."""


def _fields(
    visitor: Visitor, attributes: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the fields of the sandbox's form with the visitor of a page."""
    if visitor.customer_id is not None:
        yield "customer_id", visitor.customer_id
    elif visitor.visitor_id is not None:
        yield "visitor_id", visitor.visitor_id
    for name, value in visitor.user_identifiers.items():
        yield "identifiers", f"{name}={value}"
    for name, value in attributes.items():
        if name in _FORM_FIELDS:
            yield _FORM_FIELDS[name], value
        else:
            yield "session", f"{name}={value}"


def _id(name: str, value: str, source: ValueSource | str | None) -> Mapping[str, str]:
    if isinstance(source, ValueSource) and source.kind == "value":
        source = "value"  # its name would be the id once more
    return {"name": name, "value": _short(value), "source": str(source)}


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _json(value: object) -> str:
    """Return a payload value: a text as it is, others as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
