"""A real Redis Cluster and real sentinels on 127.0.0.1, which tests may kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from moe_middleware.models.ids import new_id

from .redis_servers import RedisServer, redis_server
from .servers import free_port, wait_for

NODE_TIMEOUT = 400
"""After how many milliseconds a cluster's silent server has failed."""

VOTES_FOR = 2.5
"""Seconds in which a cluster's replica, once elected, uses the same votes again: if it
became a replica meanwhile, it takes over in an epoch that no other server accepts."""

DOWN_AFTER = 1000
"""The same for sentinels."""

SERVICE = "mymaster"

SLOTS = 16_384

REPLICATION = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
"""Replicas follow at once."""


def command(server: RedisServer, *words: object) -> Any:
    """Send one command to a server, and return its answer."""
    with Redis.from_url(server.url, socket_timeout=5) as client:
        return client.execute_command(*words)


def says(server: RedisServer, expected: str, *words: object) -> Callable[[], bool]:
    """Return a condition: whether a server's answer contains a text."""

    def does() -> bool:
        try:
            answer = command(server, *words)
        except (RedisError, OSError):
            return False
        return expected in (
            answer.decode() if isinstance(answer, bytes) else repr(answer)
        )

    return does


class Pair:
    """A primary and its replica, which change places when one is killed.

    Attributes:
        pair: Both.
        url: How our users name them.
    """

    pair: list[RedisServer]
    url: str

    @property
    def primary(self) -> RedisServer:
        return self._first_that("master")

    @property
    def replica(self) -> RedisServer:
        return self._first_that("slave")

    def _first_that(self, role: str) -> RedisServer:
        """Return the server with a role; while they change places, wait for it."""
        found: list[RedisServer] = []

        def look() -> bool:
            found.extend(one for one in self.pair if says(one, role, "ROLE")())
            return bool(found)

        # A StopIteration out of a thread would let its event loop wait for ever.
        wait_for(look, what=f"a {role}")
        return found[0]

    def kill_primary(self) -> RedisServer:
        """Kill the primary, and return it."""
        killed = self.primary
        killed.kill()
        return killed

    def wait_for_failover(self, killed: RedisServer) -> None:
        """Wait until the other one is the primary."""
        other = self.other_than(killed)
        wait_for(says(other, "master", "ROLE"), what="the failover")

    def fail_over(self) -> RedisServer:
        """Let both change places, as for maintenance; return the former primary."""
        raise NotImplementedError

    def heal(self, former: RedisServer) -> None:
        """Make a former primary the other's replica; start it, if it was killed."""
        self.wait_for_failover(former)
        if not former.is_running:
            former.start()
        self._follow(former)
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until one is the primary, and the other has all of its data."""

        def is_whole() -> bool:
            roles = {one.port: command(one, "ROLE") for one in self.pair}
            written = {port: role[1] for port, role in roles.items() if len(role) == 3}
            followed = [role[2:] for role in roles.values() if len(role) == 5]
            return [
                [port, b"connected", at] for port, at in written.items()
            ] == followed

        wait_for(is_whole, what="the pair to be whole")

    def other_than(self, server: RedisServer) -> RedisServer:
        return next(one for one in self.pair if one is not server)

    def _follow(self, former: RedisServer) -> None:
        """A cluster's server finds its primary by itself."""

    def name(self) -> str:
        """Return a new name in a slot of the pair."""
        while key_slot((name := new_id()).encode()) >= SLOTS // 3:
            pass
        return name


class Cluster(Pair):
    """Primaries that share the slots; the first one and its replica are the pair.

    Attributes:
        primaries: The primaries, at first; each has the same number of slots.
    """

    def __init__(self, primaries: list[RedisServer], *replicas: RedisServer) -> None:
        self.primaries = primaries
        self.pair = [primaries[0], *replicas]
        self.servers = [*primaries, *replicas]
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in primaries[::2])
        self.url = _url(primaries[0], "cluster", hosts)
        self._elected_at = 0.0

    def kill_primary(self) -> RedisServer:
        self._wait_for_votes()
        return super().kill_primary()

    def wait_for_failover(self, killed: RedisServer) -> None:
        super().wait_for_failover(killed)
        self._elected_at = time.monotonic()

    def _wait_for_votes(self) -> None:
        until = self._elected_at + VOTES_FOR
        wait_for(lambda: time.monotonic() >= until, what="votes to be void")

    def fail_over(self) -> RedisServer:
        self._wait_for_votes()
        before = self.primary
        command(self.replica, "CLUSTER", "FAILOVER")
        self.wait_for_failover(before)
        return before

    def wait(self) -> None:
        """Wait until every server sees every slot served."""
        for server in self.servers:
            wait_for(
                says(server, "cluster_state:ok", "CLUSTER", "INFO"), what="a cluster"
            )

    def id_of(self, server: RedisServer) -> str:
        return str(command(server, "CLUSTER", "MYID").decode())

    def move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Begin to move a slot, as resharding does."""
        command(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        command(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move the keys of a slot that is being moved."""
        while keys := command(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            where = ("127.0.0.1", target.port, "", 0, 5000, "KEYS")
            command(source, "MIGRATE", *where, *keys)

    def moved(self, slot: int, target: RedisServer) -> None:
        """End the move of a slot."""
        # After a failover the first one is a replica, which refuses this.
        for server in (self.primary, *self.primaries[1:]):
            command(server, "CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))


@contextmanager
def redis_cluster(
    folder: Path,
    *,
    primaries: int = 3,
    replica: bool = False,
    node_timeout: int = NODE_TIMEOUT,
    **options: Any,
) -> Iterator[Cluster]:
    """Run a cluster until the block ends; further options are those of its servers."""
    encrypted = ("--tls-cluster", "yes") if "tls" in options else ()
    with ExitStack() as stack:
        buses: dict[int, int] = {}
        servers = []
        for _ in range(primaries + replica):
            bus = free_port()
            server = stack.enter_context(
                redis_server(
                    folder,
                    *encrypted,
                    *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
                    *("--cluster-node-timeout", str(node_timeout)),
                    *("--cluster-replica-validity-factor", "0"),
                    *REPLICATION,
                    **{"aof": True, **options},
                )
            )
            buses[server.port] = bus
            servers.append(server)
        made = Cluster(servers[:primaries], *servers[primaries:])
        first = servers[0]
        size = SLOTS // primaries
        for number, server in enumerate(made.primaries):
            end = SLOTS - 1 if number == primaries - 1 else (number + 1) * size - 1
            command(server, "CLUSTER", "ADDSLOTSRANGE", number * size, end)
            command(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            command(
                server, "CLUSTER", "MEET", "127.0.0.1", first.port, buses[first.port]
            )
        made.wait()
        for one in servers[primaries:]:
            first_id = made.id_of(first)
            wait_for(says(one, first_id, "CLUSTER", "NODES"), what="the first server")
            command(one, "CLUSTER", "REPLICATE", first_id)
            _wait_for_replica(one)
        yield made


class Sentinels(Pair):
    """A sentinel that watches a pair.

    Attributes:
        sentinel: The sentinel.
        url: The address: a sentinel that is not there, the one that is, the service.
    """

    def __init__(self, pair: list[RedisServer], sentinel: RedisServer) -> None:
        self.pair = pair
        self.sentinel = sentinel
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{sentinel.port}"
        self.url = _url(pair[0], "sentinel", f"{hosts}/{SERVICE}")

    def wait_for_failover(self, killed: RedisServer) -> None:
        super().wait_for_failover(killed)
        other = self.other_than(killed)
        words = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        wait_for(says(self.sentinel, str(other.port), *words), what="the sentinel")

    def fail_over(self) -> RedisServer:
        before = self.primary
        # Refused for some seconds after another failover.
        words = ("SENTINEL", "FAILOVER", SERVICE)
        wait_for(says(self.sentinel, "OK", *words), what="a failover to begin")
        self.wait_for_failover(before)
        return before

    def _follow(self, former: RedisServer) -> None:
        # The sentinel does so too, after ten seconds.
        command(former, "REPLICAOF", "127.0.0.1", self.other_than(former).port)


@contextmanager
def redis_sentinels(
    folder: Path, *sentinel_options: str, password: str | None = None, **tls: Any
) -> Iterator[Sentinels]:
    """Run a primary, a replica and a sentinel until the block ends.

    Args:
        folder: Where their files go.
        sentinel_options: More lines of the sentinel's file.
        password: What clients must say to primary and replica.
        tls: How they are encrypted, as for ``redis_server``.
    """
    encrypted = ("--tls-replication", "yes") if tls else ()
    known = ("--masterauth", password) if password else ()
    with ExitStack() as stack:
        primary, replica = (
            stack.enter_context(
                redis_server(
                    *(folder, *REPLICATION, *encrypted, *known),
                    aof=True,
                    password=password,
                    **tls,
                )
            )
            for _ in range(2)
        )
        command(replica, "REPLICAOF", "127.0.0.1", primary.port)
        _wait_for_replica(replica)
        config = folder / f"sentinel-{primary.port}.conf"
        config.write_text(
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER}\n"
            f"sentinel failover-timeout {SERVICE} 2000\n"
            + "".join(f"{line}\n" for line in sentinel_options)
        )
        sentinel = stack.enter_context(
            redis_server(folder, *encrypted, sentinel_config=config, **tls)
        )
        words = ("SENTINEL", "REPLICAS", SERVICE)
        wait_for(says(sentinel, str(replica.port), *words), what="the sentinel")
        yield Sentinels([primary, replica], sentinel)


def _url(server: RedisServer, kind: str, places: str) -> str:
    """Return a server's address for another kind and for other places."""
    scheme, _, rest = server.url.partition("://")
    login, at, _ = rest.rpartition("@")
    _, question, options = rest.partition("?")
    return f"{scheme}+{kind}://{login}{at}{places}{question}{options}"


def _wait_for_replica(replica: RedisServer) -> None:
    # redis-py makes a dictionary of it.
    status = "'master_link_status': 'up'"
    wait_for(says(replica, status, "INFO", "replication"), what="a replica")
