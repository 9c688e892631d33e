"""The client for sync code: scripts, management commands, Celery tasks, notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from ..concurrency.background_loop import background
from ..models.events import Event
from ..models.experience import EMPTY, ExperienceMetadata
from ..models.experiences import Experiences
from ..models.identity import Identity
from ..models.observers import Observer
from ..settings.settings import Config
from .budget import CallBudget
from .client import MoEngageClient

if TYPE_CHECKING:
    from .sending import TransportFactory


class SyncMoEngageClient:
    """``MoEngageClient`` for sync code.

    Its calls run on the package's background event loop, in a thread of its own: the
    caller needs no event loop, and may have one, as a notebook has. In an async handler
    a call would block the server's loop; take ``MoEngageClient`` there.

    Threads may share it. A child of ``os.fork``, as a worker of Celery or gunicorn, may
    use the one that its parent made: it opens connections of its own. Close it with
    ``with`` or ``close()``; at the process's exit nothing needs to be closed.

    It takes and raises what ``MoEngageClient`` does; an observer is called on the
    background loop, and ``transport`` makes an async transport here, too.
    """

    def __init__(
        self,
        settings: Config = None,
        *,
        budget: CallBudget | None = None,
        observer: Observer | None = None,
        transport: TransportFactory | None = None,
        **keywords: Any,
    ) -> None:
        self._client = MoEngageClient(
            settings,
            budget=budget,
            observer=observer,
            transport=transport,
            **keywords,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of this process."""
        # At the interpreter's end the loop is gone, and its sockets with it.
        if background.is_running:
            background.run(self._client.aclose())

    def fetch(
        self,
        keys: Iterable[str] = (),
        *,
        identity: Identity | None = None,
        attributes: Mapping[str, str] = EMPTY,
        timeout: float | None = None,
    ) -> Experiences:
        """Fetch a visitor's experiences: as ``MoEngageClient.fetch``.

        Raises:
            RuntimeError: The caller runs on the background loop itself, as an observer
                does; so do ``metadata`` and ``report``.
        """
        steps = self._client.fetch(
            keys, identity=identity, attributes=attributes, timeout=timeout
        )
        return background.run(steps)

    def metadata(self, statuses: Sequence[str] = ()) -> list[ExperienceMetadata]:
        """List the workspace's experiences: as ``MoEngageClient.metadata``."""
        return background.run(self._client.metadata(statuses))

    def report(self, events: Iterable[Event]) -> None:
        """Report impressions and clicks: as ``MoEngageClient.report``."""
        background.run(self._client.report(events))
