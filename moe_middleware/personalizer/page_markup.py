"""A page's HTML: our script, the Web SDK's elements, a preview's badge."""

from __future__ import annotations

import logging
from typing import Self, cast, get_args

from ..browser import script_element
from ..browser.preview_links import Preview
from ..browser.web_sdk import LeftToSDK
from ..logs.log_lines import one_line
from ..models.experience import Experience
from ..models.experiences import WebSDKApi
from ..models.plain_values import text_of
from ..models.urls import mounted_at
from ..visitors.visitor import Visitor
from .page_state import PageState

logger = logging.getLogger(__name__)


class PageMarkup(PageState):
    """The methods of a page that make HTML."""

    def advice_on(self, key: str, place: str) -> str | None:
        return self._engine.unasked_keys.advice(key, place)

    def count(self, counts: bool = True) -> Self:
        self._counts = counts
        if self._elements is not None:
            self._elements.counts = counts
        return self

    def script(self, nonce: str | None = None) -> str:
        if not self._counts:
            return ""
        if self._engine.click_links is None:
            self._engine.miss_secret_key("script")
            return ""
        self._nonce = text_of(nonce)
        return script_element(self._own_path, self._nonce)

    def web_sdk(
        self,
        *keys: str | Experience,
        nonce: str | None = None,
        api: WebSDKApi = "web_p",
    ) -> str:
        if not self._counts:
            return ""
        for one in keys or tuple(self._shown or ()):
            experience = self[one.key if isinstance(one, Experience) else one]
            key = experience.key
            watched = self.elements.sight(key) is not None
            if experience.experience_context and not (watched or key in self._tracked):
                (self._shown or {}).pop(key, None)
                if key not in self._left_to_sdk:
                    self._leave_to_sdk(experience)
        self._nonce = text_of(nonce)
        return self._sdk_elements(self._nonce, api)

    def _leave_to_sdk(self, experience: Experience) -> None:
        """Let the Web SDK report an experience from now on."""
        if self._sdk is None:
            self._sdk = LeftToSDK()
        elements = self.elements
        if elements.is_counted(experience.key):
            logger.warning("web_sdk_late key=%s: %s", one_line(experience.key), _LATE)
        elements.left_to_sdk |= {experience.key}
        self._left_to_sdk |= {experience.key}
        self._may_be_watched = True
        self._sdk.leave(experience)

    def _sdk_elements(self, nonce: str | None, api: object) -> str:
        given = text_of(api)
        if given not in get_args(WebSDKApi):
            shown = one_line(given) if isinstance(api, str) else type(api).__name__
            logger.warning("web_sdk_api_unknown given=%s: %s", shown, _NO_API)
            given = "web_p"
        if self._sdk is None:
            self._sdk = LeftToSDK()
        engine, visitor = self._engine, self._visitor
        if (
            visitor is None
            or not visitor.consents
            or self.is_preview
            or (engine.personalizes_bots and engine.visitors.is_bot(self.visit))
        ):
            self._sdk.pending = {}
            return ""
        return self._sdk.elements(
            self._own_path,
            nonce=nonce,
            api=cast(WebSDKApi, given),
            device=self._device_wanted(visitor),
        )

    def _device_wanted(self, visitor: Visitor) -> str | None:
        """Return the cookie that would contain the device id; None if it is known.

        With visitor ids from another source it is not needed.
        """
        wanted = self._engine.settings.identity
        ours = (None, self.visit.cookie(wanted.anonymous_cookie))
        is_ours = visitor.is_new or visitor.visitor_id in ours
        if visitor.customer_id is not None or not is_ours:
            return None
        return wanted.visitor_id.cookie

    @property
    def _prefix(self) -> str:
        return mounted_at(self.visit.root_path)

    @property
    def _own_path(self) -> str:
        """The prefix of our endpoints, as in a page's URLs."""
        return self._prefix + self._engine.settings.clicks.path

    def badge(self) -> str:
        previews, preview = self._engine.previews, self._preview
        if previews is None or not isinstance(preview, Preview) or self._badge_shown:
            return ""
        self._badge_shown = True
        return previews.badge(preview, self._prefix)


_LATE = (
    "it has a link or a mark on this page that the server counts too: say "
    "impression: web_sdk for its route or its tag"
)
_NO_API = "it is 'web_p' or 'personalize'; the page takes 'web_p'"
