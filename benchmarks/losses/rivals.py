"""The rivals in a script, as their documents set them up; all limits are their own.

It runs with the Python of the rivals' own virtual environment.
"""

from __future__ import annotations

import uuid

from ..peers.contract import CONTEXT, KEY
from .recorders import Recorder


def posthog(url: str) -> Recorder:
    from posthog import Posthog  # type: ignore[import-not-found]

    client = Posthog("phc", host=url)

    def record(user: str) -> object:
        return client.capture(
            "Viewed",
            distinct_id=user,
            properties=dict(CONTEXT),
            uuid=str(uuid.uuid4()),
        )

    return Recorder(record=record, close=client.shutdown)


def segment(url: str) -> Recorder:
    from segment.analytics.client import Client  # type: ignore[import-not-found]

    client = Client("wk", host=url)

    def record(user: str) -> object:
        return client.track(user_id=user, event="Viewed", properties=dict(CONTEXT))

    return Recorder(record=record, close=client.shutdown)


def amplitude(url: str) -> Recorder:
    from amplitude import (  # type: ignore[import-not-found]
        Amplitude,
        BaseEvent,
        Config,
    )

    client = Amplitude("key", Config(server_url=f"{url}/2/httpapi"))

    def record(user: str) -> object:
        return client.track(
            BaseEvent(event_type="Viewed", user_id=user, event_properties=dict(CONTEXT))
        )

    return Recorder(record=record, close=client.shutdown)


def flagsmith(url: str) -> Recorder:
    from flagsmith import Flagsmith  # type: ignore[import-not-found]
    from flagsmith.analytics import (  # type: ignore[import-not-found]
        EventProcessorConfig,
    )

    client = Flagsmith(
        environment_key="env",
        api_url=f"{url}/api/v1/",
        enable_events=True,
        event_processor_config=EventProcessorConfig(events_api_url=url),
    )

    def record(user: str) -> object:
        return client.track_exposure_event(
            KEY, identifier=user, value="on", metadata=dict(CONTEXT)
        )

    # It has no call of its own for this; the processor's is what its atexit runs.
    return Recorder(record=record, close=client._event_processor.stop)


def launchdarkly(url: str) -> Recorder:
    import ldclient  # type: ignore[import-not-found]

    client = ldclient.LDClient(
        ldclient.Config(
            "sdk-key",
            base_uri=url,
            stream_uri=url,
            events_uri=url,
            use_ldd=True,
            diagnostic_opt_out=True,
        )
    )

    def record(user: str) -> object:
        return client.track("Viewed", ldclient.Context.create(user), data=dict(CONTEXT))

    def close() -> None:
        client.flush()
        client.close()

    return Recorder(record=record, close=close)
