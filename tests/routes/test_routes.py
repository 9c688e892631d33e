from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.convertors import CONVERTOR_TYPES, Convertor
from starlette.routing import compile_path

from moe_middleware.routes.routes import RouteTable, route_path
from moe_middleware.settings.path_syntax import check_path, path_parameters
from moe_middleware.settings.route_sections import Route

from ..rows import each


def route(path: str, experiences: tuple[str, ...] = ("hero",), **given: Any) -> Route:
    """Return a route that no settings file has checked."""
    return Route.model_construct(path=path, experiences=experiences, **given)


def keys(
    *routes: Route, path: str = "/", method: str = "GET", host: str | None = None
) -> tuple[str, ...] | None:
    match = RouteTable(routes).match(method, path, host)
    return match.experiences if match is not None else None


@each(
    ("pattern", "path", "params"),
    [
        ("/", "/", {}),
        ("/about", "/about", {}),
        ("/products/{sku}", "/products/red-shoe", {"sku": "red-shoe"}),
        ("/products/{sku}", "/products/50% off", {"sku": "50% off"}),
        ("/orders/{id:int}", "/orders/42", {"id": 42}),
        ("/prices/{price:float}", "/prices/9.5", {"price": 9.5}),
        ("/u/{id:uuid}", f"/u/{UUID(int=7)}", {"id": UUID(int=7)}),
        ("/docs/{rest:path}", "/docs/a/b/c", {"rest": "a/b/c"}),
        ("/docs/{rest:path}", "/docs/", {"rest": ""}),
        ("/{rest:path}", "/", {"rest": ""}),
        ("/{lang}/docs/{rest:path}", "/en/docs/a/b", {"lang": "en", "rest": "a/b"}),
        ("/{rest:path}/edit", "/a/b/edit", {"rest": "a/b"}),
        ("/shoe-{id:int}.html", "/shoe-7.html", {"id": 7}),
        ("/{year:int}-{month:int}", "/2026-11", {"year": 2026, "month": 11}),
        ("/v{rest:path}", "/v1/x", {"rest": "1/x"}),
        ("/a.b", "/a.b", {}),
    ],
)
def test_a_path_matches_as_it_does_in_starlette(
    pattern: str, path: str, params: dict[str, Any]
) -> None:
    match = RouteTable([route(pattern)]).match("GET", path, None)

    assert match is not None
    assert match.path_params == params
    assert match.experiences == ("hero",)


@each(
    ("pattern", "path"),
    [
        ("/about", "/About"),
        ("/about", "/about/"),
        ("/about/", "/about"),
        ("/about", "/about/us"),
        ("/about", "about"),
        ("/products/{sku}", "/products/"),
        ("/products/{sku}", "/products"),
        ("/products/{sku}", "/products/a/b"),
        ("/orders/{id:int}", "/orders/x"),
        ("/orders/{id:int}", "/orders/-1"),
        # Python refuses to read such a number.
        ("/orders/{id:int}", "/orders/" + "9" * 5000),
        ("/docs/{rest:path}", "/docs"),
        ("/a.b", "/axb"),
        ("/", "*"),
        ("/{name}", ""),
    ],
)
def test_another_path_does_not_match(pattern: str, path: str) -> None:
    assert RouteTable([route(pattern)]).match("GET", path, None) is None


def test_all_matching_routes_add_their_keys_in_file_order() -> None:
    routes = [
        route("/{rest:path}", ("everywhere", "hero")),
        route("/products/{sku}", ("upsell", "hero")),
        route("/products/{id:int}", ("numbered",)),
        route("/products/1", ("first",)),
    ]

    assert keys(*routes, path="/products/1") == (
        "everywhere",
        "hero",
        "upsell",
        "numbered",
        "first",
    )


def test_each_route_keeps_its_own_parameters_and_the_later_wins_the_merge() -> None:
    first, second = route("/products/{sku}"), route("/products/{sku:int}")

    match = RouteTable([first, second]).match("GET", "/products/7", None)

    assert match is not None
    assert match.routes == ((first, {"sku": "7"}), (second, {"sku": 7}))
    assert match.path_params == {"sku": 7}


def test_single_options_come_each_from_the_last_route_that_sets_it() -> None:
    table = RouteTable(
        [
            route("/", ()),
            route("/{rest:path}", (), prefetch="concurrent", vary=("shop",)),
            route("/{rest:path}", (), vary=("utm_medium",), timeout=0.2),
            route("/", (), timeout=0.1),
            route("/{rest:path}", ()),
        ]
    )

    match = table.match("GET", "/", None)

    assert match is not None
    assert (match.prefetch, match.vary) == ("concurrent", ("utm_medium",))
    assert match.timeout == 0.1
    # Without experiences it is falsy.
    assert not match


@each(
    ("methods", "method", "matches"),
    [
        (None, "GET", True),
        (None, "PROPFIND", True),
        (["GET"], "GET", True),
        (["get"], "GET", True),
        (["GET"], "HEAD", True),
        (["GET"], "POST", False),
        (["POST"], "HEAD", False),
        (["POST"], "POST", True),
        (["HEAD"], "GET", False),
    ],
)
def test_a_route_answers_its_methods(
    methods: list[str] | None, method: str, matches: bool
) -> None:
    found = keys(route("/", methods=methods), method=method)

    assert (found is not None) is matches


def test_a_route_of_another_method_or_host_leaves_the_rest_alone() -> None:
    routes = [
        route("/", ("all",)),
        route("/", ("posted",), methods=["POST"]),
        route("/", ("us",), hosts=["us.example"]),
    ]

    assert keys(*routes, method="POST", host="eu.example") == ("all", "posted")
    assert keys(*routes, method="POST", host="us.example") == ("all", "posted", "us")
    assert keys(*routes) == ("all",)
    assert keys() is None


@each(
    ("hosts", "host", "matches"),
    [
        (["shop.example"], "shop.example", True),
        (["shop.example"], "SHOP.example:8000", True),
        (["Shop.Example"], "shop.example.", True),
        (["shop.example"], "www.shop.example", False),
        (["shop.example"], None, False),
        (["a.example", "b.example"], "b.example", True),
        (["*.shop.example"], "www.shop.example", True),
        (["*.shop.example"], "a.b.shop.example:443", True),
        (["*.shop.example"], "shop.example", False),
        (["*.shop.example"], "evilshop.example", False),
        (["[::1]"], "[::1]:8000", True),
        (["[::1]"], "[::1]", True),
        (["[::1]"], "[::2]:8000", False),
        (None, None, True),
    ],
)
def test_a_route_answers_its_hosts(
    hosts: list[str] | None, host: str | None, matches: bool
) -> None:
    for pattern in ("/page", "/{name}"):
        found = keys(route(pattern, hosts=hosts), path="/page", host=host)

        assert (found is not None) is matches


class QuarterConvertor(Convertor[str]):
    regex = r"[0-9]{4}/q[1-4]"

    def convert(self, value: str) -> str:
        return value.upper()

    def to_string(self, value: str) -> str:
        return value.lower()


def test_a_converter_of_the_apps_own_may_reach_across_slashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(CONVERTOR_TYPES, "quarter", QuarterConvertor())

    table = RouteTable([route("/reports/{when:quarter}/all")])
    match = table.match("GET", "/reports/2026/q4/all", None)

    assert match is not None
    assert match.path_params == {"when": "2026/Q4"}


@each(
    ("path", "complaint"),
    [
        ("products", "'products' does not start with '/': write '/products'"),
        ("", "does not start with '/'"),
        ("/{id:number}", "unknown converter 'number': use one of str, path, int"),
        ("/{id}/{id:int}", "two parameters that are called 'id'"),
        *((path, "has a single brace") for path in ("/{id", "/id}", "/{{id}}")),
        *(
            (f"/{odd}", f"has {odd}, which is no parameter")
            for odd in ("{}", "{1st}", "{ id }", "{id:}")
        ),
    ],
)
def test_a_wrong_path_is_refused_with_a_sentence(path: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_path(path)

    assert complaint in str(refused.value)
    with pytest.raises(ValueError):
        RouteTable([route(path)])


def test_a_path_names_its_parameters() -> None:
    path = "/{year:int}-{month:int}/{rest:path}"

    assert check_path(path) == path
    assert path_parameters(path) == {"year", "month", "rest"}
    assert path_parameters("/") == set()


@each(
    ("path", "root_path", "within"),
    [
        ("/shop/cart", "", "/shop/cart"),
        ("/shop/cart", "/shop", "/cart"),
        ("/shop/cart", "/shop/", "/cart"),
        ("/shop/", "/shop", "/"),
        ("/shop", "/shop", "/"),
        ("/shopping", "/shop", "/shopping"),
        ("/cart", "/shop", "/cart"),
        ("/cart", "/", "/cart"),
        ("", "", "/"),
        ("/eu/shop/cart", "/eu/shop", "/cart"),
    ],
)
def test_the_route_path_leaves_out_where_the_app_is_mounted(
    path: str, root_path: str, within: str
) -> None:
    assert route_path(path, root_path) == within


SEGMENTS = st.sampled_from(
    ["", "a", "b", "ab", "1", "1.5", "a-1", "a-", "a.b", "x" * 40, "\n", "a\n", "ä"]
)
PARAMETERS = st.sampled_from(["", ":str", ":int", ":float", ":path"])


@st.composite
def patterns(draw: st.DrawFn) -> str:
    parts: list[str] = []
    for index in range(draw(st.integers(1, 4))):
        name = f"{{p{index}{draw(PARAMETERS)}}}"
        shape = draw(st.sampled_from(["{text}", "{name}", "{text}{name}{more}"]))
        text, more = draw(SEGMENTS), draw(SEGMENTS)
        parts.append(shape.format(text=text, name=name, more=more))
    return "/" + "/".join(parts)


@st.composite
def paths(draw: st.DrawFn) -> str:
    end = draw(st.sampled_from(["", "/", "\n"]))
    return "/" + "/".join(draw(st.lists(SEGMENTS, max_size=6))) + end


def scan(patterns: list[str], path: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for index, pattern in enumerate(patterns):
        regex, _, convertors = compile_path(pattern)
        if matched := regex.match(path):
            found[str(index)] = {
                name: convertors[name].convert(value)
                for name, value in matched.groupdict().items()
            }
    return found


@given(st.lists(patterns(), max_size=12), st.lists(paths(), min_size=1, max_size=5))
def test_the_table_agrees_with_a_scan_of_starlettes_regexes(
    patterns: list[str], paths: list[str]
) -> None:
    table = RouteTable([route(p, (str(i),)) for i, p in enumerate(patterns)])

    for path in paths:
        match = table.match("GET", path, None)
        found = (
            {route.experiences[0]: params for route, params in match.routes}
            if match is not None
            else {}
        )
        assert list(found.items()) == list(scan(patterns, path).items())


@each(
    ("pattern", "path", "matches"),
    [
        # Its regex would take seconds, or years, to find that nothing matches.
        ("/z/{a:path}/x/{b:path}/y", "/z/" + "x/" * 30_000, False),
        ("/z/{a:path}/x/{b:path}/{c:path}/y", "/z/" + "x/" * 30_000, False),
        ("/{a:path}.{b}/y", "/" + "." * 60_000, False),
        ("/{a}-{b}{c:path}/y", "/" + "-" * 60_000, False),
        # An address of a usual length, and one parameter for all of a long one.
        ("/z/{a:path}/x/{b:path}/y", "/z/" + "a/" * 1_000 + "x/b/y", True),
        ("/{a}/{b:path}", "/a/" + "b/" * 30_000, True),
    ],
)
def test_where_parameters_meet_a_path_that_is_no_address_is_not_matched(
    pattern: str, path: str, matches: bool
) -> None:
    assert (keys(route(pattern), path=path) is not None) is matches


def test_a_route_is_not_for_what_it_excludes_and_another_may_want_that() -> None:
    given = route("/{rest:path}", exclude=("/static/{rest:path}", "/api/{number:int}"))
    whole = route("/{rest:path}", ("banner",), exclude=("/a", "/c"))
    part = route("/a", ("hero",))
    fixed = route("/c", ("hero",), exclude=("/c",))

    for path in ("/a", "/static", "/api/x"):
        assert keys(given, path=path) == ("hero",)
    for path in ("/static/a.css", "/static/a/b", "/api/7"):
        assert keys(given, path=path) is None
    assert keys(whole, part, path="/a") == ("hero",)
    assert keys(whole, part, path="/b") == ("banner",)
    assert keys(whole, fixed, path="/c") is None
