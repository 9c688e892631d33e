"""Settings that could never work are refused, and the message says what to write."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from moe_middleware import MoEngageClient, MoEngageMiddleware, Settings, SettingsError
from moe_middleware.wsgi import MoEngageWSGIMiddleware

from ..rows import each

KEY = "QWERTY0123456789"
WORKSPACE = {"id": "W1", "api_key": KEY}


def settings(**sections: Any) -> Settings:
    return Settings(**{"workspace": WORKSPACE, **sections})


def refusal(**sections: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**sections)
    return str(caught.value)


def route(path: str, **options: Any) -> dict[str, Any]:
    return {"path": path, "experiences": ["hero"], **options}


# --- paths ---------------------------------------------------------------------


@each(
    ("path", "right"),
    [
        # Flask, Django, Bottle, Sanic
        ("/products/<sku>", "/products/{sku}"),
        ("/products/<int:id>/", "/products/{id:int}/"),
        ("/docs/<path:rest>", "/docs/{rest:path}"),
        ("/blog/<slug:title>", "/blog/{title}"),
        ("/blog/<id:int>", "/blog/{id:int}"),
        # Express, Rails, Vue
        ("/products/:sku", "/products/{sku}"),
        ("/products/:sku?", "/products/{sku}"),
        ("/products/%(sku)s", "/products/{sku}"),
        ("/products/%d/x", "/products/{id:int}/x"),
        (r"/products/:id(\d+)", "/products/{id:int}"),
        ("/posts(/:id)(.:format)", "/posts/{id}.{format}"),
        ("/blog/*", "/blog/{rest:path}"),
        ("/blog/**", "/blog/{rest:path}"),
        ("/blog/*rest", "/blog/{rest:path}"),
        ("/*/reviews", "/{part}/reviews"),
        # Next, SvelteKit, Nuxt
        ("/products/[sku]", "/products/{sku}"),
        ("/docs/[...rest]", "/docs/{rest:path}"),
        ("/docs/[[...rest]]", "/docs/{rest:path}"),
        ("/(shop)/cart", "/cart"),
        # Laravel, ASP.NET, Spring, Go, aiohttp
        ("/{id?}", "/{id}"),
        ("/{...rest}", "/{rest:path}"),
        ("/{*rest}", "/{rest:path}"),
        ("/{**rest}", "/{rest:path}"),
        ("/{rest...}", "/{rest:path}"),
        ("/{id:guid}", "/{id:uuid}"),
        (r"/{id:\d+}", "/{id:int}"),
        ("/{product-id}", "/{product_id}"),
        ("/{{sku}}", "/{sku}"),
        # regular expressions
        (r"^products/(?P<sku>[\w-]+)/$", "/products/{sku}/"),
        (r"^a/(?P<id>\d+)$", "/a/{id:int}"),
        ("/old$", "/old"),
        ("/files/(.*)", "/files/{rest:path}"),
        # addresses
        ("/search?q=tea", "/search"),
        ("/about#team", "/about"),
        ("/caf%C3%A9", "/café"),
        ("https://shop.example/sale?x=1", "/sale"),
        ("//sale", "/sale"),
        ("/a//b", "/a/b"),
        ("/a/../b", "/b"),
        ("sale", "/sale"),
        # what is left over of a text
        ("/\n", "/"),
        ("/sale\n", "/sale"),
        (" /sale", "/sale"),
        ("/sale\u00a0", "/sale"),
        ("\ufeff/sale", "/sale"),
    ],
)
def test_a_path_that_matches_nothing_is_translated(path: str, right: str) -> None:
    message = refusal(routes=[route(path)])

    assert message.startswith("routes.0.path: ")
    assert message.endswith(f"write {right!r}")
    assert settings(routes=[route(right)]).routes[0].path == right


@pytest.mark.parametrize("path", ["/(a|b)", "/a\tb", "/a\x00", "/${SKU}", "/{id"])
def test_a_path_without_a_translation_is_refused_too(path: str) -> None:
    assert "write it as in /products/{sku}" in refusal(routes=[route(path)])


@each(
    "path",
    [
        *("/", "/a b", "/café", "/100%", "/$metadata", "/a+b", "/~ada", "/@ada"),
        *("/wiki/Python_(language)", "/v1/x:cancel", "/urn:isbn:1", "/a;b", "/a=b&c"),
        *("/{sku}", "/{id:int}.json", "/{rest:path}", "/{a}-{b}"),
    ],
)
def test_an_unusual_path_is_still_one(path: str) -> None:
    assert settings(routes=[route(path)]).routes[0].path == path


def test_a_parameter_alone_in_braces_says_so_too(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("routes:\n  - {path: {slug}, experiences: [hero]}\n")

    with pytest.raises(SettingsError, match="put a text with braces in quotes"):
        Settings.load(file, environ={})


# --- names of headers, cookies and the like ---------------------------------------


@each(
    ("source", "right"),
    [
        ({"header": "HTTP_X_CUSTOMER"}, "write X-Customer"),
        ({"header": "X_CUSTOMER_ID"}, "write X-Customer-Id"),
        ({"header": "X_Customer"}, "write X-Customer"),
        ({"header": "X-Customer:"}, "write X-Customer"),
        ({"header": "X Customer"}, "write X-Customer"),
        ({"header": "X-Customer\n"}, "write header: X-Customer"),
        ({"header": ""}, "blanks"),
        ({"cookie": "customer=1"}, "write customer"),
        ({"cookie": "Cookie: customer"}, "write customer"),
        ({"cookie": "customer;"}, "write customer"),
        ({"cookie": " customer"}, "write cookie: customer"),
        ({"cookie": ""}, "blanks"),
        ({"query": "?utm"}, "write utm"),
        ({"query": "utm="}, "write utm"),
        ({"query": "utm_source&x=1"}, "write utm_source"),
        ({"query": "filter%5Bid%5D"}, "write filter[id]"),
        ({"path": "{sku}"}, "write sku"),
        ({"path": "<sku>"}, "write sku"),
        ({"session": "customer\n"}, "write session: customer"),
        ({"user": "request.user.pk"}, "write pk"),
        ({"user": "get_username()"}, "write call:"),
        ({"user": "profile..id"}, "profile.id"),
        ({"call": "shop.cart.size"}, "write 'shop.cart:size'"),
        ({"call": "shop/cart.py:size()"}, "write 'shop.cart:size'"),
        ("customer_id", "write {cookie: customer_id}"),
        ("X-Customer", "write {header: X-Customer}"),
        ("shop:customer", "write {call: 'shop:customer'}"),
        (["customer_id"], "write {cookie: name}"),
    ],
)
def test_a_source_that_no_request_has(source: object, right: str) -> None:
    assert right in refusal(attributes={"tier": source})


@each(
    "source",
    [
        {"header": "X-Customer"},
        {"header": "x-customer.id"},
        {"cookie": "__Host-id"},
        {"cookie": "cart[id]"},
        {"query": "filter[id]"},
        {"session": "cart.size"},
        {"user": "profile.id"},
        {"value": " any text "},
    ],
)
def test_an_unusual_source_is_still_one(source: dict[str, str]) -> None:
    assert settings(attributes={"tier": source}).attributes["tier"]


# --- hosts, methods, keys ----------------------------------------------------------


@each(
    ("host", "right"),
    [
        ("https://shop.example/x", "shop.example"),
        ("shop.example:8000", "shop.example"),
        ("shop.example/", "shop.example"),
        ("shop.example.", "shop.example"),
        (" shop.example", "shop.example"),
        (".shop.example", "*.shop.example"),
        ("**.shop.example", "*.shop.example"),
        ("*shop.example", "*.shop.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("::1", "[::1]"),
        ("*", "leave hosts out"),
        ("shop.*", "leave hosts out"),
        ("", "leave hosts out"),
    ],
)
def test_a_host_that_no_request_names(host: str, right: str) -> None:
    message = refusal(routes=[route("/", hosts=[host])])

    assert message.startswith("routes.0.hosts.0: ")
    assert right in message


def test_an_ipv6_host_is_taken_as_browsers_write_it() -> None:
    made = settings(routes=[route("/", hosts=["[0:0:0:0:0:0:0:1]"])])

    assert made.routes[0].hosts == ("[::1]",)


@pytest.mark.parametrize(
    ("method", "right"),
    [
        ("GTE", "did you mean 'GET'?"),
        ("*", "leave methods out"),
        ("any", "leave methods out"),
        ("GET, POST", "write them as [GET, POST]"),
        ("GET|HEAD", "write them as [GET, HEAD]"),
    ],
)
def test_a_method_that_no_request_has(method: str, right: str) -> None:
    assert right in refusal(routes=[route("/", methods=[method])])


def test_lower_case_and_line_breaks_are_mended() -> None:
    made = settings(routes=[route("/", methods=["get\n", "Post"])])

    assert made.routes[0].methods == ("GET", "POST")


def test_a_key_with_blanks_is_no_key() -> None:
    wrong = {"path": "/", "experiences": ["hero "]}

    assert "write 'hero'" in refusal(routes=[wrong])


@pytest.mark.parametrize("part", [".*bot", "^curl", "crawl.+", "bot$", r"\bbot"])
def test_a_pattern_is_no_part_of_a_user_agent(part: str) -> None:
    assert "write a part of the User-Agent" in refusal(bots={"also": [part]})


@pytest.mark.parametrize("offset", [2, 5, 330, -8])
def test_hours_and_minutes_are_no_offset(offset: int) -> None:
    message = refusal(events={"user_timezone_offset": offset})

    assert "give seconds, as in 19800 for UTC+5:30" in message


# --- where things are kept ----------------------------------------------------------


@each(
    ("address", "right"),
    [
        ("sqlite:///:memory:", "write memory:"),
        ("sqlite://", "write memory:"),
        (":memory:", "write memory:"),
        ("memory", "write memory:"),
        ("sqlite:///file:moe.db?mode=memory", "write memory:"),
        ("sqlite+aiosqlite:///moe.db", "write sqlite:///moe.db"),
        ("sqlite3:///moe.db", "write sqlite:///moe.db"),
        ("sqlite://moe.db", "write sqlite:///moe.db"),
        ("sqlite:moe.db", "write sqlite:///moe.db"),
        ("sqlite:/var/moe.db", "write sqlite:////var/moe.db"),
        ("sqlite:///moe.db?timeout=3", "write sqlite:///moe.db"),
        ("file:///var/moe.db", "write sqlite:////var/moe.db"),
        ("moe.db", "write sqlite:///moe.db"),
        ("/var/moe.db", "write sqlite:////var/moe.db"),
        ("sqlite:///~/moe.db", "four slashes"),
        ("sqlite:///$HOME/moe.db", "write ${NAME}"),
        ("sqlite:///data/", "name the file in it"),
        ("sqlite:///..", "name the file in it"),
        ("redis:host:6379", "write redis://host:6379"),
        ("localhost:6379", "write redis://localhost:6379"),
        ("valkey://host/0", "write redis://host/0"),
        ("redis://host/zero", "write redis://host:6379/0"),
        ("redis:///0", "write redis://host:6379/0"),
        ("redis://host:0", "write redis://host:6379/0"),
        ("valkey-cluster://u:p@host", "write redis+cluster://host:6379"),
        ("${REDIS}", "nothing filled in"),
        ("redis://a:1,b:2", "write redis+cluster:// for a cluster"),
        ("redis+sentinel://a:1,b", "write redis+sentinel://a:1,b/mymaster"),
        ("redis+sentinel://a:1/0/my", "write redis+sentinel://a:1/my/0"),
        ("redis+cluster://a:1/2", "has no databases: leave it out"),
        ("sentinel://a:1;sentinel://b:2", "write redis+sentinel://a:1,b:2/mymaster"),
        ("redis-sentinel://a:1/my", "write redis+sentinel://a:1/my"),
        ("rediss-cluster://a:1,b:2", "write rediss+cluster://a:1,b:2"),
        ("redis+cluster://a:x", "write redis+cluster://host:6379"),
        ("redis+sentinel://[a]:1/my", "write redis+sentinel://host:26379/mymaster"),
        ("", "write sqlite:///moe.db"),
    ],
)
def test_an_address_of_another_dialect(address: str, right: str) -> None:
    assert right in refusal(events={"outbox": address})
    assert right in refusal(budget={"store": address})


@pytest.mark.parametrize(
    "address",
    [
        "redis://:s3/cret@host",
        "redis://:s3?cret@host/0",
        "redis://:s3#cret@host/0",
        "redis://u:s3@cret@host/zero",
        "redis://user:s3cret",
        "postgres://u:s3cret@host/db",
        "redis+sentinel://u:s3cret@host",
        "redis+sentinel://u:12/3cret@host",
        "redis+sentinel://u:12?3cret@host",
        "redis+cluster://u:12/3cret@host",
        "redis+cluster://u:s3cret@host/2",
        "redis://host/zero?password=s3cret",
    ],
)
@pytest.mark.parametrize("place", ["events.outbox", "budget.store", "cache.redis"])
def test_a_refused_address_shows_no_password(address: str, place: str) -> None:
    section, key = place.split(".")

    message = refusal(**{section: {key: address}})

    assert message.startswith(f"{place}: ")
    assert "cret" not in message


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis+sentinel://u:s3%2Fcret@A:1,[::1],c/my/2?db=1", "A:1,[::1],c/my/2"),
        ("rediss+sentinel://:s3,cret@a/my?sentinel_password=cret", "a/my"),
        ("redis+cluster://u:s3cret@a,b:7000", "a,b:7000"),
        ("rediss+cluster://a?ssl_keyfile=/cret", "a"),
    ],
)
def test_addresses_of_sentinels_and_clusters(address: str, shown: str) -> None:
    made = settings(
        cache={"redis": address}, budget={"store": address}, events={"outbox": address}
    )

    for one in (made.cache.redis, made.budget.store, made.events.outbox):
        assert one is not None
        assert one.is_redis
        assert str(one) == f"{address.partition('//')[0]}//{shown.lower()}"


def test_an_address_that_is_no_text_or_of_another_store_says_so() -> None:
    file = settings(events={"outbox": "sqlite:///moe.db"}).events.outbox

    assert "7 is not text: write it as in redis://" in refusal(cache={"redis": 7})
    assert "moe.db is no Redis: write redis://" in refusal(cache={"redis": file})
    with pytest.raises(AttributeError, match="does not change"):
        file.whole = ""


def test_the_outbox_and_the_budget_have_a_file_each() -> None:
    message = refusal(budget={"store": "sqlite:///moe-outbox.db"})

    assert message.startswith("budget.store: events.outbox is kept in this file")


def test_an_address_shows_its_password_nowhere() -> None:
    whole = "redis://:s3cret@cache.internal:6379/0?password=other"
    made = settings(
        cache={"redis": whole}, budget={"store": whole}, events={"outbox": whole}
    )

    for address in (made.cache.redis, made.budget.store, made.events.outbox):
        assert address is not None
        assert address.get_secret_value() == whole == address
        for shown in (str(address), repr(address), f"{address}"):
            assert "cache.internal:6379/0" in shown
            assert "s3cret" not in shown
            assert "other" not in shown
        assert pickle.loads(pickle.dumps(address)) == address
        assert copy.deepcopy(address) == address
    for dump in (made.model_dump_json(), repr(made), str(made), f"{made.model_dump()}"):
        assert "s3cret" not in dump
        assert KEY not in dump
    assert Settings(**made.model_dump()) == made


# --- credentials --------------------------------------------------------------------


ENDS = ["{}\n", "{}\r\n", "  {}\t", "\ufeff{}", "{}\u00a0", "{}\u200b", "{}\u2028"]


@pytest.mark.parametrize("ends", ENDS)
def test_what_is_at_the_ends_is_no_part_of_a_credential(
    ends: str, tmp_path: Path
) -> None:
    secret, redis = "a secret of thirty-two characters", "redis://:k@host:6379/0"
    for name, value in (("key", KEY), ("secret", secret), ("id", "W1")):
        (tmp_path / name).write_text(ends.format(value), encoding="utf-8")
    file = tmp_path / "moe.yml"
    file.write_text(
        "workspace: {id: '${ID}', api_keys: ['${KEY}', \"${OLD}\"]}\n"
        "secret_key: ${SECRET}\nroutes: []\ncache: {redis: '${REDIS}'}\n"
    )
    by_file = Settings.load(
        file,
        environ={
            "ID_FILE": str(tmp_path / "id"),
            "KEY_FILE": ends.format(tmp_path / "key"),
            "SECRET_FILE": str(tmp_path / "secret"),
            "OLD": ends.format("OLD"),
            "REDIS": ends.format(redis),
        },
    )
    by_value = Settings.load(
        file,
        environ={
            "MOE_WORKSPACE_ID": ends.format("W1"),
            "MOE_SECRET_KEY": ends.format(secret),
            "MOE_DATA_CENTER": ends.format("03"),
            "MOE_BASE_URL": ends.format("http://127.0.0.1:8787/v1/"),
            "KEY": ends.format(KEY),
            "OLD": "OLD",
            "REDIS": redis,
        },
    )
    by_keyword = settings(
        workspace={
            "id": ends.format("W1"),
            "api_keys": [ends.format(KEY), SecretStr(ends.format("OLD"))],
            "data_center": ends.format("03"),
            "base_url": ends.format("http://127.0.0.1:8787/v1/"),
        },
        secret_key=[ends.format(secret)],
        cache={"redis": ends.format(redis)},
    )

    for made in (by_file, by_value, by_keyword):
        assert made.workspace.id == "W1"
        assert [key.get_secret_value() for key in made.workspace.keys] == [KEY, "OLD"]
        assert made.secret_key is not None
        assert [key.get_secret_value() for key in made.secret_key] == [secret]
        assert made.cache.redis == redis
    for made in (by_value, by_keyword):
        assert made.workspace.url == "http://127.0.0.1:8787/v1"
        assert made.workspace.data_center == "03"


def test_a_block_scalar_brings_no_line_break(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text(
        f"workspace:\n  id: |\n    W1\n  api_key: >\n    {KEY}\n"
        "  data_center: |\n    sandbox\nroutes: []\n"
    )

    assert Settings.load(file, environ={}).workspace.embedded


@each(
    ("key", "about"),
    [
        ("abc\ndef", "a line break"),
        ("abc def", "a blank"),
        ("clé", "a letter that is not ASCII"),
        (" \n", "empty"),
        ('"QWERTY"', "leave them out"),
        ("'QWERTY'", "leave them out"),
        ("\u201cQWERTY\u201d", "leave them out"),
        ("$MOE_API_KEY", "write ${NAME}"),
        ("${MOE_API_KEY}", "write ${NAME}"),
        ("$(cat key)", "write ${NAME}"),
        ("%MOE_API_KEY%", "write ${NAME}"),
        ("{{ moe_api_key }}", "write ${NAME}"),
        ("<your key>", "write ${NAME}"),
    ],
)
def test_what_can_be_no_key_is_refused_and_not_shown(key: str, about: str) -> None:
    for workspace in ({"id": "W", "api_key": key}, {"id": "W", "api_keys": ["k", key]}):
        message = refusal(workspace=workspace)

        assert about in message
        assert not key.strip() or key not in message
    assert "workspace.id: " in refusal(workspace={"id": key, "api_key": "k"})


def test_a_secret_of_digits_is_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    digits = "0x1234567890123456"
    file.write_text(
        f"workspace: {{id: 123, api_key: {digits}}}\nsecret_key: 12345678901234567890\n"
        "routes: []\n"
    )

    made = Settings.load(file, environ={})

    assert made.workspace.keys[0].get_secret_value() == digits
    assert made.secret_key is not None
    assert made.secret_key[0].get_secret_value() == "12345678901234567890"
    assert settings(secret_key=12345678901234567890).secret_key == made.secret_key


@each(
    ("data_center", "right"),
    [
        *(("3", "03"), ("DC_03", "03"), ("dc-3", "03"), ("DC03", "03"), ("003", "03")),
        *(("sdk-03", "03"), ("https://dashboard-03.moengage.com/x", "03")),
        *(("eu", "02"), ("India", "03"), ("SANDBOX", "sandbox"), ("local", "sandbox")),
    ],
)
def test_a_data_center_by_another_name(data_center: str, right: str) -> None:
    message = refusal(workspace={**WORKSPACE, "data_center": data_center})

    assert f"did you mean {right!r}?" in message


def test_a_number_is_a_data_center() -> None:
    made = settings(workspace={**WORKSPACE, "data_center": 3})

    assert made.workspace.url == "https://sdk-03.moengage.com/v1"


@each(
    ("url", "right"),
    [
        ("https://api-03.moengage.com/v1", "data_center: '03'"),
        ("https://dashboard-03.moengage.com", "data_center: '03'"),
        ("https://sdk-03.moengage.com", "data_center: '03'"),
        ("http://sdk-03.moengage.com/v1", "data_center: '03'"),
        ("https://sdk-03.moengage.com/v2", "data_center: '03'"),
        ("https://moengage.com/v1", "data_center: '01'"),
        ("http://127.0.0.1:8787/v1/experiences/fetch", "'http://127.0.0.1:8787/v1'"),
        ("http://127.0.0.1:8787/v1?x=1", "http://127.0.0.1:8787/v1"),
        ("http://127.0.0.1:8787/v1?", "http://127.0.0.1:8787/v1"),
        ("127.0.0.1:8787/v1", "http://127.0.0.1:8787/v1"),
        ("ftp://127.0.0.1/v1", "http://127.0.0.1:8787/v1"),
        ("http://u:s3cret@127.0.0.1/v1", "holds no credentials"),
        ("http://127.0.0.1/ v1", "http://127.0.0.1:8787/v1"),
    ],
)
def test_an_address_that_is_not_the_apis(url: str, right: str) -> None:
    message = refusal(workspace={**WORKSPACE, "base_url": url})

    assert right in message
    assert "s3cret" not in message


# --- what does not go together ------------------------------------------------------


def test_a_parameter_that_no_route_has() -> None:
    routes = [route("/products/{sku}")]

    message = refusal(routes=routes, attributes={"sku": {"path": "skuu"}})
    assert message == (
        "attributes.sku.path: no route's path has 'skuu': did you mean 'sku'?"
    )
    message = refusal(routes=routes, identity={"customer_id": {"path": "id"}})
    assert message == (
        "identity.customer_id.path: no route's path has 'id': use one of sku"
    )


def test_a_route_below_our_own_paths() -> None:
    assert "below clicks.path" in refusal(routes=[route("/_moe/x")])
    message = refusal(routes=[route("/m/{x}")], clicks={"path": "/m"})
    assert message.startswith("routes.0.path: '/m/{x}' is below clicks.path")


@pytest.mark.parametrize("path", ["/", "_moe", "/_moe/", "/..", "/a/../b", "/a b"])
def test_a_path_of_our_own_that_no_request_has(path: str) -> None:
    assert "write it as /_moe" in refusal(clicks={"path": path})


def test_the_same_route_twice() -> None:
    message = refusal(routes=[route("/"), route("/a"), route("/")])

    assert message == "routes.2: the same as routes.0: keep one of the two"
    assert settings(routes=[route("/"), route("/", methods=["GET"])])


@each(
    ("path", "excluded", "is_idle"),
    [
        ("/", "/cart", True),
        ("/shop/{rest:path}", "/static/{rest:path}", True),
        ("/shop/{id:int}", "/shop/new", True),
        ("/shop/{id:int}", "/shop/{id:int}/edit", True),
        ("/shop", "/shop/{rest:path}", True),
        ("/shop/{sku}.html", "/shop/sencha.html", False),
        ("/{rest:path}", "/static/{rest:path}", False),
        ("/{rest:path}", "/{lang}/cart", False),
        ("/shop/{id:int}", "/shop/{sku}", False),
        ("/shop/{sku}", "/shop/{id:int}", False),
        ("/{lang}/shop/{sku}", "/de/{rest:path}", False),
        ("/o/{id:uuid}", "/o/{sku}", False),
    ],
)
def test_an_exclusion_of_what_the_route_is_not_for(
    path: str, excluded: str, is_idle: bool
) -> None:
    routes = [route(path, exclude=[excluded])]
    if not is_idle:
        assert settings(routes=routes).routes[0].exclude == (excluded,)
        return

    message = refusal(routes=routes)

    about = f"routes.0.exclude.0: {excluded!r} is no path of {path!r}: leave it out"
    assert message.startswith(about)


@pytest.mark.parametrize(
    ("sections", "about"),
    [
        (
            {"identity": {"customer_id": {"cookie": "moe_uuid"}}},
            "identity.customer_id.cookie: 'moe_uuid' is where visitor_id comes from",
        ),
        (
            {
                "identity": {
                    "customer_id": {"header": "X-Id"},
                    "visitor_id": {"header": "X-Id"},
                }
            },
            "identity.customer_id.header: 'X-Id' is where visitor_id comes from",
        ),
        (
            {
                "identity": {"customer_id": {"cookie": "c"}},
                "consent": {"given_by": {"cookie": "c"}},
            },
            "consent.given_by.cookie: 'c' is where customer_id comes from",
        ),
    ],
)
def test_one_source_is_not_two_things(sections: dict[str, Any], about: str) -> None:
    assert refusal(**sections).startswith(about)


def test_a_cookie_may_be_a_customers_alone() -> None:
    identity = {"customer_id": {"cookie": "moe_uuid"}, "visitor_id": {"value": ""}}

    assert settings(identity=identity)


def test_anonymous_visitors_are_no_customers() -> None:
    identity = {"customer_id": {"cookie": "moe_visitor"}}

    assert "every one of them would be a customer" in refusal(identity=identity)
    assert settings(identity={**identity, "anonymous": "off"})


# --- a mapping ----------------------------------------------------------------------

MAPPING = {
    "workspace": {"data_center": "sandbox"},
    "events": {"outbox": "memory:"},
    "routes": [route("/")],
}


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Answer nothing."""


def test_every_door_takes_a_mapping() -> None:
    assert MoEngageMiddleware(nothing, config=MAPPING)
    assert MoEngageWSGIMiddleware(lambda environ, start: [b""], config=MAPPING)
    assert MoEngageClient(MAPPING)
    assert Settings.of(MAPPING) == Settings(**MAPPING)
    assert Settings.of(made := settings()) is made


async def test_the_client_takes_a_path_and_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "moe.yml"
    file.write_text("workspace: {data_center: sandbox}\nroutes: []\n")

    for given in (file, str(file), MAPPING):
        async with MoEngageClient(given) as client:
            assert await client.metadata()


@pytest.mark.parametrize("given", [5, ["moe.yml"], b"moe.yml", True, object()])
def test_what_is_no_configuration_is_refused(given: Any) -> None:
    with pytest.raises(SettingsError, match="give the path of a settings file"):
        MoEngageMiddleware(nothing, config=given)
    with pytest.raises(SettingsError, match="give the path of a settings file"):
        MoEngageWSGIMiddleware(lambda environ, start: [b""], config=given)
    with pytest.raises(SettingsError, match="give the path of a settings file"):
        MoEngageClient(given)


def test_a_mappings_mistakes_are_all_reported() -> None:
    wrong: dict[Any, Any] = {**MAPPING, "fetsh": {}, 5: 6}

    with pytest.raises(SettingsError) as caught:
        MoEngageMiddleware(nothing, config=wrong)

    assert {problem.where for problem in caught.value.problems} == {"fetsh", "5"}


def test_two_configurations_that_differ_in_a_password_are_two() -> None:
    one, same, other = (
        settings(cache={"redis": f"redis://:{password}@host/0"})
        for password in ("a", "a", "b")
    )

    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert settings(secret_key="a" * 32).fingerprint != one.fingerprint
