"""Preview links for code that makes them itself, such as a CMS's editor."""

from __future__ import annotations

from .browser import preview_links
from .browser.preview_links import Preview

__all__ = ["Preview", "PreviewLinks"]


class PreviewLinks(preview_links.PreviewLinks):
    """Makes and reads preview links.

    Args:
        secrets: The secret keys, the newest first.
        path: The path of previews, as in ``/_moe/p/``.
        clock: The time, in unix seconds.
    """

    # Links were encrypted once; callers of that time pass a nonce.
    def make(self, preview: Preview, nonce: bytes | None = None) -> str:
        """Return the link that shows a preview.

        Args:
            preview: The content to show.
            nonce: Not used: a link is signed, and its content can be read.

        Raises:
            ValueError: Its target is on another site, or its payload is empty or too
                large.
        """
        return super().make(preview)
