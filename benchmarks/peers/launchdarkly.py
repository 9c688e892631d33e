"""LaunchDarkly's events, without its flags, which it evaluates in memory."""

from __future__ import annotations

from pathlib import Path

import ldclient  # type: ignore[import-not-found]

from .contract import CONTEXT, DEFAULTS

PENDING = 200_000
"""Its own default of 10,000 drops events beyond it."""


class LaunchDarkly:
    def __init__(self, url: str, **limits: int) -> None:
        self._client = ldclient.LDClient(
            ldclient.Config(
                "sdk-key",
                base_uri=url,
                stream_uri=url,
                events_uri=url,
                use_ldd=True,
                diagnostic_opt_out=True,
                **limits,
            )
        )

    def record(self, user: str) -> object:
        # Its events carry no id of their own.
        return self._client.track(
            "Viewed",
            ldclient.Context.create(user),
            data=dict(CONTEXT),
        )

    def flush(self) -> object:
        return self._client.flush()

    def close(self) -> None:
        self._client.flush()
        self._client.close()


def peer(url: str, directory: Path, variant: str) -> LaunchDarkly:
    limits = {} if variant == DEFAULTS else {"events_max_pending": PENDING}
    return LaunchDarkly(url, **limits)
