"""``moe-middleware check`` tries what a server would need, before there is one."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from moe_middleware import Settings
from moe_middleware.cli.checks import check

from ..cli_runner import run
from ..redis_servers import redis_server
from ..servers import free_port
from ..sites import Site

HEAD = "workspace: {id: W1, api_key: QWERTY0123456789}\n"
PASSWORD = "s3cret"


def refused(folder: Path, text: str) -> list[str]:
    """Return what ``check`` says of a file, which it must refuse."""
    (folder / "moe.yml").write_text(f"{HEAD}routes: []\n{text}")

    result = run("check")

    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert PASSWORD not in result.output
    as_json = json.loads(run("check", "--json").stdout)
    assert as_json["ok"] is False
    assert len(as_json["problems"]) == len(result.stderr.splitlines())
    return result.stderr.splitlines()


@pytest.mark.parametrize(
    ("section", "key"), [("cache", "redis"), ("budget", "store"), ("events", "outbox")]
)
def test_a_redis_that_is_not_there(folder: Path, section: str, key: str) -> None:
    address = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"

    (line,) = refused(folder, f"{section}: {{{key}: '{address}'}}\n")

    assert line.startswith(f"moe.yml:3: {section}.{key}: redis://127.0.0.1:")
    assert "cannot be used" in line


def test_a_redis_that_is_there(folder: Path, tmp_path_factory: Any) -> None:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        url = server.url
        (folder / "moe.yml").write_text(
            f"{HEAD}routes: []\ncache: {{redis: '{url}'}}\n"
            f"budget: {{store: '{url}'}}\n"
            f"events: {{outbox: '{url}'}}\n"
        )

        result = run("check")

    assert result.exit_code == 0, result.output
    assert f"cache        {url}" in result.stdout


def test_no_redis_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)

    (line,) = refused(folder, "cache: {redis: 'redis://host:6379/0'}\n")

    assert line.startswith(
        "moe.yml:3: cache.redis: redis://host:6379/0 needs the redis"
    )
    assert 'pip install "moe_middleware[redis]"' in line


def test_no_package_for_bots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crawleruseragents", None)

    (line,) = refused(folder, "bots: {library: on}\n")

    assert line.startswith("moe.yml:3: bots.library: ")
    assert "pip install 'moe_middleware[bots]'" in line


@pytest.mark.parametrize("place", ["budget: {store", "events: {outbox"])
@pytest.mark.parametrize(
    ("address", "about"),
    [
        ("sqlite:////nowhere/moe.db", "there is no folder /nowhere: make it"),
        ("sqlite:////proc/moe.db", "cannot be written"),
        ("sqlite:///a-folder", "is a folder: name the file in it"),
        ("sqlite:///text.db", "text.db cannot be used"),
        ("sqlite:///locked.db", "locked.db cannot be used"),
    ],
)
def test_a_file_that_cannot_be_written(
    folder: Path,
    place: str,
    address: str,
    about: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("moe_middleware.cli.checks.PATIENCE", 0.1)
    (folder / "a-folder").mkdir()
    (folder / "text.db").write_text("this is no database, but a text of some length")
    with sqlite3.connect("locked.db", isolation_level=None) as other:
        other.execute("begin exclusive")

        (line,) = refused(folder, f"{place}: '{address}'}}\n")

    other.close()
    assert line.startswith("moe.yml:3: ")
    assert about in line


def test_another_programs_database(folder: Path) -> None:
    with sqlite3.connect("shop.db") as db:
        db.execute("create table orders (id)")
    db.close()

    (line,) = refused(folder, "events: {outbox: 'sqlite:///shop.db'}\n")

    assert "another program's database: name a new file" in line


def test_nothing_that_stays_is_written(folder: Path) -> None:
    (folder / "moe.yml").write_text(f"{HEAD}routes: []\n")

    assert run("check").exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["moe.yml"]


@pytest.mark.parametrize(
    ("observer", "about"),
    [
        ("shop_watch:nothing", "has no attribute 'nothing'"),
        ("shop_watch:wacther", "did you mean 'watcher'?"),
        ("shop_nowhere:watcher", "there is no module 'shop_nowhere'"),
        ("shop_watch:limit", "inherits from moe_middleware.Observer"),
        ("shop_raises:watcher", "cannot be imported: RuntimeError: at import"),
    ],
)
def test_an_observer_that_is_none(folder: Path, observer: str, about: str) -> None:
    (folder / "shop_watch.py").write_text(
        "from moe_middleware import Observer\nwatcher = Observer()\nlimit = 3\n"
    )
    (folder / "shop_raises.py").write_text("raise RuntimeError('at import')\n")

    (line,) = refused(folder, f"observer: {observer}\n")

    assert line.startswith("moe.yml:3: observer: ")
    assert about in line


CALLS = """\
class Shop:
    def tier(self, visit): return None
    @classmethod
    def size(cls, visit): return None
def none(): return None
def two(visit, other): return None
def one(visit): return None
def more(visit, other=None, *rest, **named): return None
async def waits(visit): return None
"""


@pytest.mark.parametrize(
    ("call", "about"),
    [
        ("shop_arity:none", "takes (): write a function of one Visit"),
        ("shop_arity:two", "takes (visit, other): write a function of one Visit"),
        ("shop_arity:Shop.tier", "takes (self, visit)"),
        ("shop_arity:on", "did you mean 'one'?"),
    ],
)
def test_a_call_that_cannot_be_made(folder: Path, call: str, about: str) -> None:
    (folder / "shop_arity.py").write_text(CALLS)

    (line,) = refused(folder, f"attributes:\n  tier: {{call: '{call}'}}\n")

    assert line.startswith("moe.yml:4: attributes.tier: ")
    assert about in line


@pytest.mark.parametrize("name", ["one", "more", "waits", "Shop.size"])
def test_a_call_that_can_be_made(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "shop_fits.py").write_text(CALLS)
    monkeypatch.syspath_prepend(str(folder))

    given = Settings(
        data_center="sandbox", attributes={"tier": {"call": f"shop_fits:{name}"}}
    )

    assert check(given) == []


async def test_a_call_that_is_not_there_is_logged_at_the_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site = Site(attributes={"tier": {"call": "json:dupms"}})

    await site.get(customer="alice")
    await site.get(customer="alice")

    logged = [line for line in caplog.messages if line.startswith("call_unusable")]
    assert len(logged) == 1
    assert "attributes.tier: 'json:dupms'" in logged[0]
    assert "did you mean 'dumps'?" in logged[0]


# --- live ---------------------------------------------------------------------------


def live(folder: Path, text: str, *more: str) -> Result:
    (folder / "moe.yml").write_text(text)
    return run("check", "--live", *more)


def test_live_asks_for_the_routes_experiences(folder: Path) -> None:
    text = "workspace: {data_center: sandbox}\nroutes:\n  - path: /\n    experiences:\n"

    good = live(folder, f"{text}      - homepage-banner\n      - autumn-hero\n")
    bad = live(folder, f"{text}      - homepage-banner\n      - homepage-baner\n")

    assert good.exit_code == 0
    assert "api_key      accepted" in good.stdout
    assert "autumn-hero  Paused" in good.stdout
    assert bad.exit_code == 1
    assert bad.stderr == (
        "moe.yml:6: routes.0.experiences.1: the workspace has no experience "
        "'homepage-baner': did you mean 'homepage-banner'?\n"
    )


def test_live_tries_each_key(folder: Path, address: str) -> None:
    url = f"{address}/v1"
    text = (
        f"workspace: {{id: sandbox, api_keys: [wrong-key, sandbox-key], "
        f"base_url: '{url}'}}\nroutes: []\n"
    )
    (folder / "moe.yml").write_text(text)

    result = run(
        "check", "--live", **dict.fromkeys(("MOE_API_KEY", "MOE_WORKSPACE_ID"), "")
    )

    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("moe.yml:1: workspace.api_keys.0: ")
    assert "AuthenticationError (401)" in line
    assert "the Personalize tile's" in line
    assert "wrong-key" not in result.output


class Metadata(BaseHTTPRequestHandler):
    """Answers as the API does, at a time of its own."""

    seconds_off = 0.0

    def do_GET(self) -> None:
        body = json.dumps({"metadata": {"experiences": []}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(int(time.time() + self.seconds_off))

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output clean."""


@pytest.mark.parametrize(
    ("seconds", "about"),
    [(0.0, None), (4.0, None), (-3600.0, "ahead of the API's"), (90.0, "behind the")],
)
def test_live_compares_the_clock(
    folder: Path, seconds: float, about: str | None
) -> None:
    handler = type("Handler", (Metadata,), {"seconds_off": seconds})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        text = f"workspace: {{id: W, api_key: k, base_url: '{url}'}}\nroutes: []\n"
        result = live(folder, text)
        server.shutdown()

    assert result.exit_code == (0 if about is None else 1), result.output
    if about is None:
        assert "clock        right" in result.stdout
    else:
        assert about in result.stderr


def test_live_says_that_nothing_listens(folder: Path) -> None:
    text = (
        "workspace: {id: W, api_key: k, "
        f"base_url: 'http://127.0.0.1:{free_port()}/v1'}}\nroutes: []\n"
    )

    result = live(folder, text)

    assert result.exit_code == 1
    assert "is 'moe-middleware sandbox' running?" in result.stderr


# --- the command --------------------------------------------------------------------


def test_config_is_the_same_as_file(folder: Path) -> None:
    (folder / "other.yml").write_text(f"{HEAD}routes: []\n")

    assert run("check", "--config", "other.yml").exit_code == 0
    assert run("check", MOE_CONFIG="other.yml").exit_code == 0
    assert run("check", "other.yml", "--config", "other.yml").exit_code == 2
    missing = run("check", MOE_CONFIG="nowhere.yml")
    assert "MOE_CONFIG names it" in missing.stderr


def test_json_is_all_of_it(folder: Path) -> None:
    (folder / "moe.yml").write_text(
        f"{HEAD}routes:\n  - path: /{{sku}}\n    experiences: [hero]\n"
        "    attributes: {sku: {path: sku}}\n"
        f"cache: {{redis: 'redis://:{PASSWORD}@127.0.0.1:{free_port()}/0', ttl: 0}}\n"
    )

    found = json.loads(run("check", "--json").stdout)

    assert found["ok"] is True
    assert found["problems"] == []
    assert found["settings"]["workspace"] == "W1"
    assert found["routes"][0] == {
        "path": "/{sku}",
        "methods": None,
        "hosts": None,
        "experiences": ["hero"],
        "attributes": {"sku": "path sku"},
    }


def test_a_base_url_without_its_version_is_a_warning(folder: Path) -> None:
    base_url = f"http://127.0.0.1:{free_port()}"
    head = f"workspace:\n  id: W1\n  api_key: k\n  base_url: {base_url}"
    (folder / "moe.yml").write_text(f"{head}/\nroutes: []\n")

    result = run("check")
    [warning] = json.loads(run("check", "--json").stdout)["warnings"]

    assert result.exit_code == 0
    assert result.stderr == f"warning: {warning}\n"
    assert warning.startswith("moe.yml:4: workspace.base_url: ")
    assert f"{base_url} ends without /v1" in warning
    (folder / "moe.yml").write_text(f"{head}/v1/\nroutes: []\n")
    assert run("check").stderr == ""


@pytest.mark.parametrize(("path", "count"), [("", 1), ("/v1", 0)])
async def test_a_base_url_without_its_version_is_logged_at_the_start(
    caplog: pytest.LogCaptureFixture, path: str, count: int
) -> None:
    base_url = f"http://127.0.0.1:{free_port()}{path}"
    site = Site(workspace_id="W1", api_key="k", data_center="01", base_url=base_url)

    await site.get()
    await site.get()

    logged = [line for line in caplog.messages if line.startswith("setting_doubtful")]
    assert len(logged) == count
    assert all(f"{base_url} ends without /v1" in line for line in logged)


def test_json_of_a_broken_file(folder: Path) -> None:
    (folder / "moe.yml").write_text(f"{HEAD}routes: []\nfetsh: {{}}\n")

    result = run("check", "--json")

    assert result.exit_code == 1
    assert json.loads(result.stdout)["problems"] == [
        {
            "file": "moe.yml",
            "line": 3,
            "where": "fetsh",
            "message": "unknown key 'fetsh': did you mean 'fetch'?",
        }
    ]


# --- a preview ----------------------------------------------------------------------


def test_a_preview_needs_a_payload_and_no_more(folder: Path) -> None:
    (folder / "banner.json").write_text('{"Title": "Sale"}')
    secret = {
        "MOE_SECRET_KEY": "a secret of at least thirty-two characters",
        "MOE_DATA_CENTER": "sandbox",
    }

    by_file = run("preview", "homepage-banner", "--payload", "banner.json", **secret)
    only_one = run("preview", "winter-sale", **secret)

    assert by_file.exit_code == 0, by_file.output
    assert by_file.stdout.startswith("/_moe/p/")
    assert "shows homepage-banner, variation banner, until" in by_file.stderr
    assert only_one.exit_code == 0, only_one.output
