"""Sends commands to the server with their key, and follows its redirections."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from .advice import causes
from .options import Command, RedisOptions
from .topology import Place, Topology, place_from

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.2
"""The longest pause before a refused command is repeated, in seconds."""

DETOURS = 3
"""The most redirections of a command before a pause."""

_LATER = (ClusterDownError, TryAgainError, BusyLoadingError, ReadOnlyError)
"""Answers to commands that were not carried out, and may be soon. MASTERDOWN is a
``ClusterDownError``."""

_LATER_CODES = ("NOREPLICAS ", "BUSY ")
"""The codes of those without a class in redis-py."""


_CLASSES: dict[str, type[ResponseError]] = {
    "ASK": AskError,
    "CLUSTERDOWN": ClusterDownError,
    "MASTERDOWN": MasterDownError,
    "MOVED": MovedError,
    "TRYAGAIN": TryAgainError,
}


def refusal(error: ResponseError) -> ResponseError:
    """Return an error of a cluster's own class; older redis-py leaves that to us."""
    code, _, rest = str(error).partition(" ")
    known = _CLASSES.get(code) if type(error) is ResponseError else None
    return known(rest) if known is not None else error


class Unsent(Exception):
    """No connection could be made, so nothing was sent.

    Args:
        error: The reason.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Link(Protocol):
    """A connection to one server, opened at its first use."""

    def is_lost(self) -> bool:
        """Whether the server has closed it."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Return the answers in order; an error that came for one is its answer.

        Raises:
            Unsent: It cannot be opened.
            RedisError, OSError: It broke; some commands may have been carried out.
        """

    async def close(self) -> None: ...


class Router:
    """Sends commands to the server with their key.

    A command is sent again if its server did not carry it out: because the key is or
    will be elsewhere, or because the server starts, or has just become a replica. A
    command that may have been carried out is not sent again.

    Args:
        options: The address and its options.
        connect: Returns a link to a server, without opening it.
        patience: Seconds during which a command is repeated that was not carried out.
        sleep: Waits for seconds.
        clock: A clock that never jumps, in seconds.
    """

    def __init__(
        self,
        options: RedisOptions,
        connect: Callable[[Place, bool], Link],
        *,
        patience: float,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._options = options
        self._is_single = options.address.kind == "single"
        self._is_cluster = options.address.kind == "cluster"
        self._connect = connect
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._topology = Topology(options.address)
        self._links: dict[Place, Link] = {}

    async def ask(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Return the answers in order; an error that came for one is its answer.

        Args:
            key: A key of theirs; in a cluster, all of their keys have its slot.
            commands: Each the words of one command.

        Raises:
            RedisError, OSError: The server cannot be reached; some commands may have
                been carried out.
        """
        slot = int(key_slot(key.encode())) if self._is_cluster else 0
        until, pause, detours = self._clock() + self._patience, FIRST_PAUSE, 0
        answers: list[Any] = [None] * len(commands)
        left = [*range(len(commands))]
        redirected: Place | None = None
        while True:
            place, unsent, found = redirected, None, []
            chosen = [commands[at] for at in left]
            try:
                place = place or await self._place_of(slot)
                found = await self._run(place, chosen, asking=redirected is not None)
            except Unsent as caught:
                unsent = caught.error
            if unsent is not None:
                # Not within the block above: an error keeps the cause that it has.
                if not self._may_pass(unsent):
                    raise unsent
                again = unsent
            else:
                for at, answer in zip(left, found, strict=True):
                    answers[at] = answer
                refused = [at for at in left if self._may_repeat(answers[at])]
                if not refused:
                    return answers
                # All have one slot, so one reason holds for all.
                again = answers[refused[0]]
                left = [
                    at
                    for at in left
                    # A WAIT waits for the commands before it.
                    if at in refused or (at > refused[0] and commands[at][0] == "WAIT")
                ]
            if isinstance(again, ReadOnlyError) and place in self._links:
                await self._leave(place, self._links[place])
                if self._is_single and detours:
                    return answers  # its name leads to no other server
            redirected, wait = None, 0.0
            if place is not None:
                redirected = self._follow(slot, place, again)
            detours += 1
            if not isinstance(again, AskError) or detours > DETOURS:
                wait, pause = pause, min(2 * pause, LONGEST_PAUSE)
            if self._clock() + wait >= until:
                if not isinstance(again, ResponseError):
                    raise again
                return answers
            if wait:
                await self._sleep(wait)

    async def reach(self) -> list[Exception | None]:
        """Connect to every primary; return the errors.

        Raises:
            RedisError, OSError: They cannot be found.
        """
        if not self._topology.places():
            await self._discover()
        greeted = [
            await _outcome(self._run(place, [("PING",)], asking=False))
            for place in self._topology.places()
        ]
        return [one if isinstance(one, Exception) else None for one in greeted]

    async def close(self) -> None:
        """Close all links; the next use opens new ones."""
        links, self._links = self._links, {}
        for link in links.values():
            await link.close()

    async def _run(
        self, place: Place, commands: Sequence[Command], *, asking: bool
    ) -> list[Any]:
        link = self._links.get(place)
        if link is None:
            link = self._links[place] = self._connect(place, False)
        try:
            if not asking:
                return await link.run(commands)
            # ASKING holds for the next command alone.
            pairs = [one for command in commands for one in (("ASKING",), command)]
            return (await link.run(pairs))[1::2]
        except BusyLoadingError as error:
            # redis-py takes this answer for the end of the connection.
            await self._leave(place, link)
            return [error] * len(commands)
        except (Unsent, RedisError, OSError):
            await self._leave(place, link)
            self._topology.doubt(place)
            raise

    async def _leave(self, place: Place, link: Link) -> None:
        if self._links.get(place) is link:
            del self._links[place]
        await link.close()

    async def _place_of(self, slot: int) -> Place:
        place = self._topology.place_of(slot)
        link = self._links.get(place) if place is not None else None
        if place is not None and link is not None and link.is_lost():
            # It was restarted, or a sentinel has made it a replica.
            await self._leave(place, link)
            self._topology.doubt(place)
            place = self._topology.place_of(slot)
        if place is None:
            await self._discover()
            place = self._topology.place_of(slot)
        if place is None:
            # After a failover some servers know of the new primary before the others.
            message = f"no server of {self._options.shown} has slot {slot}"
            raise Unsent(ConnectionError(f"{message}: see CLUSTER INFO"))
        return place

    def _may_repeat(self, answer: Any) -> bool:
        """Whether a command was not carried out, and may be repeated."""
        if not isinstance(answer, Exception):
            return False
        if isinstance(answer, AskError):
            # Only a cluster's answers say where else a key is; MOVED is one, too.
            return self._is_cluster
        return isinstance(answer, _LATER) or str(answer).startswith(_LATER_CODES)

    def _follow(self, slot: int, place: Place, again: Exception) -> Place | None:
        """Note a redirection; return the server for this command alone, if any."""
        if isinstance(again, MovedError):
            self._topology.is_at(slot, place_from(again.host, again.port, place))
            self._relearn()
        elif isinstance(again, AskError):
            return place_from(again.host, again.port, place)
        elif not isinstance(again, (TryAgainError, BusyLoadingError)):
            self._topology.doubt(place)
        return None

    def _may_pass(self, error: Exception) -> bool:
        """Whether another attempt to connect may succeed soon."""
        if isinstance(error, BusyLoadingError):
            return True
        lasting = (AuthenticationError, ResponseError, ssl.SSLError)
        lasts = any(isinstance(cause, lasting) for cause in causes(error))
        # A single server has no other to turn to: its callers pause by themselves.
        return not (self._is_single or lasts)

    def _relearn(self) -> None:
        """Look up all slots in the background."""

    async def _discover(self) -> None:
        """Look up the primaries, from one server after the other.

        Raises:
            RedisError, OSError: None does.
        """
        failures: list[Exception] = []
        for place in self._topology.to_ask():
            link = self._connect(place, not self._is_cluster)
            try:
                answer = await _outcome(link.run([self._question()]))
            finally:
                await link.close()
            if answer is None:
                answer = ConnectionError(
                    f"the sentinels of {self._options.shown} know no service "
                    f"{self._options.address.service!r}"
                )
                failures.insert(0, answer)
            elif isinstance(answer, Exception):
                # An error that a person must mend says more than a server that is away.
                at = len(failures) if self._may_pass(answer) else 0
                failures.insert(at, answer)
            else:
                self._learn(answer, place)
                # A former primary would go on answering with what it had.
                for other in self._links.keys() - self._topology.places():
                    await self._links.pop(other).close()
                return
        raise failures[0]

    def _question(self) -> Command:
        if self._is_cluster:
            return ("CLUSTER", "SLOTS")
        return ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._options.address.service)

    def _learn(self, answer: Any, source: Place) -> None:
        if self._is_cluster:
            self._topology.learn(answer, source)
        else:
            self._topology.is_at(0, place_from(answer[0], answer[1], source))


async def _outcome(answering: Awaitable[list[Any]]) -> Any:
    """Return the answer to one command; an error is its answer, sent or not."""
    try:
        [answer] = await answering
    except Unsent as unsent:
        return unsent.error
    except (RedisError, OSError) as error:
        return error
    return answer
