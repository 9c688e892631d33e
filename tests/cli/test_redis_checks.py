"""``moe-middleware check`` on Redis: missing rights, wrong kinds, certificates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis

from moe_middleware import Settings
from moe_middleware.cache.redis import RedisCache
from moe_middleware.cli.checks import check
from moe_middleware.client.budget import open_budget
from moe_middleware.outbox.redis.outbox import RedisOutbox

from ..makers import event
from ..redis_servers import Certificates, RedisServer, redis_server
from ..redis_topologies import Cluster, Sentinels, redis_cluster, redis_sentinels

SETTINGS = {
    "cache": ("cache", "redis"),
    "budget": ("budget", "store"),
    "outbox": ("events", "outbox"),
}
DOCUMENT = (Path(__file__).parents[2] / "docs" / "how-to" / "redis.md").read_text(
    "utf-8"
)
RULES = {
    name: rules.replace("'", "").split()
    for name, rules in re.findall(r"ACL SETUSER moe-(\w+) (on .*)", DOCUMENT)
}
"""The rights of each user, as docs/how-to/redis.md has them."""


def problems(use: str, url: str) -> list[str]:
    """Return what ``check`` says of a Redis that is used for this."""
    section, key = SETTINGS[use]
    given = Settings(
        workspace={"id": "W1", "api_key": "QWERTY0123456789"},
        routes=[],
        **{"events": {"outbox": "memory:"}, section: {key: url}},
    )
    found = check(given)
    assert all(one.where == f"{section}.{key}" for one in found)
    assert "sesame" not in str(found)
    return [one.message for one in found]


def as_user(server: RedisServer, name: str) -> str:
    return server.url.replace("//", f"//moe-{name}:secret@")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), aof=True) as running:
        with Redis.from_url(running.url) as admin:
            for name, rules in RULES.items():
                admin.execute_command("ACL", "SETUSER", f"moe-{name}", *rules)
        yield running


# --- rights ----------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_each_right_that_is_missing_is_named(server: RedisServer, name: str) -> None:
    url, user = as_user(server, name), f"moe-{name}"
    commands = [rule for rule in RULES[name] if rule.startswith("+")]
    [pattern] = [rule for rule in RULES[name] if rule.startswith("~")]

    assert problems(name, url) == []
    with Redis.from_url(server.url) as admin:
        for rule in commands:
            admin.execute_command("ACL", "SETUSER", user, f"-{rule[1:]}")
            [problem] = problems(name, url)
            assert problem.endswith(f": a right is missing: ACL SETUSER {user} {rule}")
            admin.execute_command("ACL", "SETUSER", user, rule)
        admin.execute_command("ACL", "SETUSER", user, "resetkeys")
        [problem] = problems(name, url)
        admin.execute_command("ACL", "SETUSER", user, pattern)
        [selected] = problems(name, url.replace("/0", "/1"))

    assert problem.endswith(f" ACL SETUSER {user} {pattern}")
    assert selected.endswith(f" ACL SETUSER {user} +select")
    with Redis.from_url(server.url) as admin:
        assert list(admin.scan_iter("*check*")) == []


async def test_these_rights_are_enough(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RedisCache(
        as_user(server, "cache"), workspace_id="W1", ttl=60, stale=60, timeout=20
    )
    budget = open_budget(as_user(server, "budget"), 5, workspace_id="W1", timeout=20)
    outbox = RedisOutbox(as_user(server, "outbox"), workspace_id="W1", replicas=0)
    visitor, variant = b"v" * 16, b"s" * 8

    known = await cache.get(visitor, variant, ["hero"])
    lease = await cache.lead(
        visitor, variant, ["hero"], known.generation, for_seconds=9
    )
    cache.finish(visitor, variant, lease, {"hero": b"{}"})
    await cache.settle()
    found = await cache.get(visitor, variant, ["hero"])
    forgotten = await cache.forget(visitor)
    granted = (await budget.take()).granted
    outbox.append([event(name) for name in ("alice", "bob", "alice", "carol")])
    claims = await outbox.claim(limit=10, lease_for=60, relay="one")
    await outbox.ack([claims[0].id])
    await outbox.bury([claims[1].id], reason="400 No")
    await outbox.retry([claims[2].id], delay=0)
    await outbox.extend([claims[3].id], lease_for=60)
    await outbox.claim(limit=10, lease_for=60, relay="two")
    await outbox.note("one", b"1")
    letters, notes = await outbox.dead_letters(), await outbox.notes()
    healthy = (await outbox.health(timeout=20)).writable
    replayed = await outbox.replay()
    await outbox.restore(await outbox.waiting())
    purged = [await outbox.purge(kind) for kind in ("waiting", "dead")]
    outbox.close()
    await budget.aclose()
    await cache.aclose()

    assert [*found.entries] == ["hero"]
    assert forgotten
    assert granted
    assert (len(letters), notes, healthy, replayed) == (1, {"one": b"1"}, True, 1)
    assert purged[0] > 0
    assert caplog.messages == []


# --- kinds -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "url", "reason"),
    [
        ("cache", "redis://127.0.0.1:{cluster}", "write redis+cluster://"),
        ("outbox", "redis://127.0.0.1:{sentinel}", "write redis+sentinel://"),
        ("budget", "redis://127.0.0.1:{sentinel}", "write redis+sentinel://"),
        ("cache", "redis://127.0.0.1:{sentinel}", "write redis+sentinel://"),
        ("cache", "redis+cluster://127.0.0.1:{single}", "write redis://"),
        ("cache", "redis+sentinel://127.0.0.1:{single}/my", "it is no sentinel"),
        ("budget", "redis+sentinel://127.0.0.1:{sentinel}/my", "know no service 'my'"),
        ("outbox", "redis+sentinel://127.0.0.1:1,127.0.0.1:2/my", "127.0.0.1:1"),
        ("outbox", "redis+cluster://127.0.0.1:1,127.0.0.1:2", "127.0.0.1:1"),
        ("outbox", "redis://127.0.0.1:{replica}", "it only reads"),
        ("cache", "redis://me:sesame@127.0.0.1:{single}", "the user and the password"),
        ("cache", "rediss://127.0.0.1:{single}", "does it speak TLS"),
    ],
)
def test_an_address_of_the_wrong_kind_is_reported_with_the_right_one(
    server: RedisServer,
    cluster: Cluster,
    sentinels: Sentinels,
    use: str,
    url: str,
    reason: str,
) -> None:
    ports = {
        "single": server.port,
        "cluster": cluster.primaries[1].port,
        "sentinel": sentinels.sentinel.port,
        "replica": sentinels.replica.port,
    }

    [problem] = problems(use, url.format(**ports))

    assert reason in problem


@pytest.mark.parametrize("use", SETTINGS)
def test_a_cluster_and_sentinels_are_fine(
    cluster: Cluster, sentinels: Sentinels, use: str
) -> None:
    assert problems(use, cluster.url) == []
    assert problems(use, sentinels.url) == []


def test_sentinels_have_a_user_of_their_own(tmp_path: Path) -> None:
    secret, other = "data/sesame", "sentinel@sesame"
    lines = [
        f"sentinel auth-pass mymaster {secret}",
        f"user watcher on >{other} +sentinel|get-master-addr-by-name",
    ]
    with redis_sentinels(tmp_path, *lines, password=secret) as made:
        right = f"{made.url}?sentinel_username=watcher&sentinel_password={quote(other)}"
        with Redis(port=made.sentinel.port) as admin:
            admin.execute_command("ACL", "SETUSER", "default", "off")
            fine = problems("cache", right)
            [anonymous] = problems("cache", made.url)
            [wrong] = problems("cache", right.replace("watcher", "nobody"))
            admin.execute_command("AUTH", "watcher", other)

    assert fine == []
    assert "AuthenticationError" in anonymous
    assert "AuthenticationError" in wrong


# --- TLS -------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.issued(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (
            "ssl_ca_certs={ca}&ssl_certfile=/no/one.pem",
            "/no/one.pem cannot be read: No",
        ),
        ("ssl_ca_certs=/no/ca.pem", "ssl_ca_certs=/no/ca.pem cannot be read: No such"),
        ("ssl_ca_certs={text}", "ssl_ca_certs={text} holds no certificate"),
        ("ssl_certfile={client}&ssl_keyfile={server_key}", "KEY_VALUES_MISMATCH"),
        ("ssl_certfile={client}", "ssl_certfile={client} and ssl_keyfile={client} are"),
        ("ssl_keyfile={client_key}", "ssl_keyfile has no ssl_certfile beside it"),
    ],
)
def test_certificates_that_cannot_be_used_are_named(
    tmp_path: Path, files: Certificates, query: str, reason: str
) -> None:
    text = tmp_path / "text.pem"
    text.write_text("nothing")
    names = {
        "ca": files.authority,
        "text": text,
        "client": files.client,
        "client_key": files.client_key,
        "server_key": files.server_key,
    }
    url = f"rediss://:sesame@127.0.0.1:1?{query.format(**names)}"

    assert [reason.format(**names) in one for one in problems("outbox", url)] == [True]
    [plain] = problems("cache", url.replace("rediss", "redis"))
    assert "write rediss://127.0.0.1:1" in plain


def test_a_server_with_tls_wants_its_own_authority_and_a_clients_certificate(
    tmp_path: Path, files: Certificates
) -> None:
    with redis_server(tmp_path, tls=files, client_certificates=True) as made:
        place, _, _ = made.url.partition("?")
        found = {
            use: problems(use, url)
            for use, url in {
                "outbox": made.url,
                "budget": place,
                "cache": f"{place}?ssl_ca_certs={files.authority}",
            }.items()
        }
        [plain] = problems("cache", place.replace("rediss", "redis"))

    assert found["outbox"] == []
    assert "authority in ssl_ca_certs" in found["budget"][0]
    assert "add ssl_certfile and ssl_keyfile" in found["cache"][0]
    assert "does it want TLS" in plain


def test_clusters_and_sentinels_speak_tls(tmp_path: Path, files: Certificates) -> None:
    with redis_cluster(tmp_path, primaries=1, tls=files) as cluster:
        clustered = problems("cache", cluster.url)
    with redis_sentinels(tmp_path, tls=files, client_certificates=True) as sentinels:
        watched = problems("outbox", sentinels.url)

    assert (clustered, watched) == ([], [])
