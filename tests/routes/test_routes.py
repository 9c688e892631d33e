from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.convertors import CONVERTOR_TYPES, Convertor, register_url_convertor
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
        ("/docs/{rest:path}", "/docs"),
        ("/a.b", "/axb"),
        ("/", "*"),
        ("/{name}", ""),
    ],
)
def test_another_path_does_not_match(pattern: str, path: str) -> None:
    assert RouteTable([route(pattern)]).match("GET", path, None) is None


def test_a_number_that_python_refuses_to_read_matches_no_route() -> None:
    table = RouteTable([route("/orders/{id:int}")])

    assert table.match("GET", "/orders/" + "9" * 5000, None) is None


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


@pytest.mark.parametrize(
    ("timeouts", "expected"),
    [([None], None), ([0.2], 0.2), ([0.2, 0.5], 0.5), ([0.2, None], 0.2)],
)
def test_the_timeout_is_the_last_one_that_is_set(
    timeouts: list[float | None], expected: float | None
) -> None:
    table = RouteTable([route("/", timeout=timeout) for timeout in timeouts])

    match = table.match("GET", "/", None)

    assert match is not None
    assert match.timeout == expected


def test_single_options_come_each_from_the_last_route_that_sets_it() -> None:
    table = RouteTable(
        [
            route("/", prefetch="concurrent", vary=("shop",)),
            route("/{rest:path}", vary=("utm_medium",)),
            route("/", timeout=0.1),
        ]
    )

    match = table.match("GET", "/", None)

    assert match is not None
    assert (match.prefetch, match.vary) == ("concurrent", ("utm_medium",))


def test_a_match_without_experiences_is_falsy() -> None:
    assert not RouteTable([route("/", ())]).match("GET", "/", None)
    assert RouteTable([route("/", ("hero",))]).match("GET", "/", None)


def test_no_route_at_all_matches_nothing() -> None:
    assert RouteTable([]).match("GET", "/", None) is None


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


def test_a_method_that_one_route_names_still_finds_the_routes_for_all() -> None:
    routes = [route("/", ("all",)), route("/", ("posted",), methods=["POST"])]

    assert keys(*routes, method="POST") == ("all", "posted")
    assert keys(*routes, method="GET") == ("all",)


@pytest.mark.parametrize(
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
@pytest.mark.parametrize("pattern", ["/page", "/{name}"])
def test_a_route_answers_its_hosts(
    pattern: str, hosts: list[str] | None, host: str | None, matches: bool
) -> None:
    found = keys(route(pattern, hosts=hosts), path="/page", host=host)

    assert (found is not None) is matches


def test_a_route_of_another_host_leaves_the_rest_alone() -> None:
    routes = [route("/", ("all",)), route("/", ("us",), hosts=["us.example"])]

    assert keys(*routes, host="us.example") == ("all", "us")
    assert keys(*routes, host="eu.example") == ("all",)


class QuarterConvertor(Convertor[str]):
    regex = r"[0-9]{4}/q[1-4]"

    def convert(self, value: str) -> str:
        return value.upper()

    def to_string(self, value: str) -> str:
        return value.lower()


def test_a_converter_of_the_apps_own_may_reach_across_slashes() -> None:
    register_url_convertor("quarter", QuarterConvertor())
    try:
        table = RouteTable([route("/reports/{when:quarter}/all")])
        match = table.match("GET", "/reports/2026/q4/all", None)
    finally:
        del CONVERTOR_TYPES["quarter"]

    assert match is not None
    assert match.path_params == {"when": "2026/Q4"}


@each(
    ("path", "complaint"),
    [
        ("products", "'products' does not start with '/': write '/products'"),
        ("", "does not start with '/'"),
        ("/{id:number}", "unknown converter 'number': use one of str, path, int"),
        ("/{id}/{id:int}", "two parameters that are called 'id'"),
        ("/{id", "has a single brace"),
        ("/id}", "has a single brace"),
        ("/{{id}}", "has a single brace"),
        ("/{}", "has {}, which is no parameter"),
        ("/{1st}", "has {1st}, which is no parameter"),
        ("/{ id }", "has { id }, which is no parameter"),
        ("/{id:}", "has {id:}, which is no parameter"),
    ],
)
def test_a_wrong_path_is_refused_with_a_sentence(path: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_path(path)

    assert complaint in str(refused.value)


def test_a_table_refuses_a_wrong_path() -> None:
    with pytest.raises(ValueError, match="unknown converter"):
        RouteTable([route("/{id:number}")])


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/", set()),
        ("/{sku}", {"sku"}),
        ("/{year:int}-{month:int}/{rest:path}", {"year", "month", "rest"}),
    ],
)
def test_a_path_names_its_parameters(path: str, names: set[str]) -> None:
    assert check_path(path) == path
    assert path_parameters(path) == names


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


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/z/{a:path}/x/{b:path}/y", "/z/" + "x/" * 30_000),
        ("/z/{a:path}/x/{b:path}/{c:path}/y", "/z/" + "x/" * 30_000),
        ("/{a:path}.{b}/y", "/" + "." * 60_000),
        ("/{a}-{b}{c:path}/y", "/" + "-" * 60_000),
    ],
)
def test_where_parameters_meet_a_path_that_is_no_address_is_not_matched(
    pattern: str, path: str
) -> None:
    table = RouteTable([route(pattern)])

    # Its regex would take seconds, or years, to find that nothing matches.
    assert table.match("GET", path) is None


def test_where_parameters_meet_an_address_of_a_usual_length_is_matched() -> None:
    table = RouteTable([route("/z/{a:path}/x/{b:path}/y")])

    found = table.match("GET", "/z/" + "a/" * 1_000 + "x/b/y")

    assert found is not None
    assert found.path_params["b"] == "b"


def test_a_long_path_is_matched_where_one_parameter_takes_it() -> None:
    table = RouteTable([route("/{a}/{b:path}")])

    assert table.match("GET", "/a/" + "b/" * 30_000) is not None


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(("/a", ("hero",)), ("/static/a.css", None), ("/static", ("hero",))),
        *(("/api/7", None), ("/api/x", ("hero",)), ("/static/a/b", None)),
    ],
)
def test_a_route_is_not_for_what_it_excludes(
    path: str, expected: tuple[str, ...] | None
) -> None:
    given = route("/{rest:path}", exclude=("/static/{rest:path}", "/api/{number:int}"))

    assert keys(given, path=path) == expected


def test_what_one_route_excludes_another_may_want() -> None:
    whole = route("/{rest:path}", ("banner",), exclude=("/a", "/c"))
    part = route("/a", ("hero",))
    fixed = route("/c", ("hero",), exclude=("/c",))

    assert keys(whole, part, path="/a") == ("hero",)
    assert keys(whole, part, path="/b") == ("banner",)
    assert keys(whole, fixed, path="/c") is None
