from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from moe_middleware.models.errors import SettingsError
from moe_middleware.sandbox import Sandbox
from moe_middleware.settings.sections import FetchSettings
from moe_middleware.settings.settings import Route, Settings
from moe_middleware.settings.value_sources import ValueSource
from moe_middleware.settings.workspaces import Workspace

from ..rows import each

FILES = Path(__file__).parent / "files"
GOOD = sorted((FILES / "good").glob("*.yml"))
BAD = sorted((FILES / "bad").glob("*.yml"))
SECRET = "sekret-5f0c"
CREDENTIALS = {"MOE_WORKSPACE_ID": "ENV", "MOE_API_KEY": SECRET}

UNSEEN_BY_THE_SCHEMA = {
    "call_targets.yml": "the form of a call's target",
    "missing_variables.yml": "the environment",
    "no_credentials.yml": "the environment may hold them",
}


def problems_of(path: Path, environ: Mapping[str, str] = {}) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        Settings.load(path, environ=environ)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert all(problem.file == str(path) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def expected_problems(path: Path) -> list[str]:
    """Read the problems that a bad file itself notes at the end of their lines."""
    return [
        f"{path}:{number}: {note.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for note in line.split(" #! ")[1:]
    ]


def write(directory: Path, text: str) -> Path:
    path = directory / "moe.yml"
    path.write_text(text)
    return path


def keys_of(loaded: Settings) -> list[str]:
    return [key.get_secret_value() for key in loaded.workspace.keys]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file_loads(path: Path) -> None:
    loaded = Settings.load(path, environ=CREDENTIALS)

    assert loaded.workspace.id in ("ENV", "sandbox")
    assert loaded.workspace.keys


@each("path", BAD)
def test_every_mistake_is_reported_at_its_line(path: Path) -> None:
    problems = problems_of(path)

    assert problems == expected_problems(path)
    assert problems


def test_architecture_sample_means_what_it_says() -> None:
    path = FILES / "good" / "architecture_sample.yml"

    loaded = Settings.load(path, environ=CREDENTIALS)

    assert loaded.workspace.url == "https://sdk-03.moengage.com/v1"
    assert loaded.workspace.dialect == "both"
    assert str(loaded.identity.customer_id) == "cookie customer_id"
    assert str(loaded.identity.user_identifiers["u_em"]) == "header X-Email"
    assert str(loaded.attributes["utm_medium"]) == "query utm_medium"
    assert [route.path for route in loaded.routes] == ["/", "/products/{sku}"]
    assert loaded.routes[0].experiences == ("homepage-banner", "promo-strip")
    assert loaded.routes[0].methods is None
    assert loaded.routes[1].methods == ("GET",)
    assert (loaded.fetch.timeout, loaded.fetch.tries) == (0.3, 3)
    assert (loaded.cache.ttl, loaded.cache.stale) == (60, 600)
    assert loaded.events.outbox == "sqlite:///moe-outbox.db"


def test_full_file_means_what_it_says() -> None:
    loaded = Settings.load(FILES / "good" / "everything.yml", environ={})

    assert keys_of(loaded) == ["new-key", "old-key"]
    assert loaded.workspace.url == "http://127.0.0.1:8787/v1"
    assert loaded.identity.anonymous == "off"
    route = loaded.routes[0]
    assert route.methods == ("GET", "POST")
    assert route.hosts == ("shop.example.com", "*.example.org")
    assert route.experiences == ("hero", "cart-upsell")
    assert loaded.fetch.timeout == 0.15
    assert loaded.fetch.trust_env is True
    assert loaded.events.interval == 0.5
    assert loaded.trusted_proxies == ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")
    assert loaded.bots.also == ("ShopMonitor",)


def test_sections_without_values_are_left_out() -> None:
    path = FILES / "good" / "sections_without_values.yml"

    loaded = Settings.load(path, environ={})

    assert loaded.fetch == FetchSettings()
    assert loaded.attributes == {}
    assert loaded.routes[0].timeout is None


FILE_TEXT = "workspace: {id: FILE, api_key: file-key, data_center: '02'}\nroutes: []"
OVERRIDES = {
    "MOE_WORKSPACE_ID": "ENV",
    "MOE_API_KEY": "env-key",
    "MOE_DATA_CENTER": "04",
    "MOE_BASE_URL": "http://env.example/v1/",
}


@pytest.mark.parametrize(
    ("environ", "keywords", "expected"),
    [
        ({}, {}, ("FILE", ["file-key"], "https://sdk-02.moengage.com/v1")),
        (OVERRIDES, {}, ("ENV", ["env-key"], "http://env.example/v1")),
        (
            OVERRIDES,
            {"workspace_id": "KEYWORD", "api_keys": ["a", "b"]},
            ("KEYWORD", ["a", "b"], "http://env.example/v1"),
        ),
        (
            OVERRIDES,
            {"workspace": {"id": "NESTED"}, "base_url": "http://k.example"},
            ("NESTED", ["env-key"], "http://k.example"),
        ),
        (
            OVERRIDES,
            {"workspace": Workspace(id="WHOLE", api_key="w", data_center="06")},  # type: ignore[arg-type]
            ("WHOLE", ["w"], "https://sdk-06.moengage.com/v1"),
        ),
        (
            {"MOE_WORKSPACE_ID": "", "MOE_DATA_CENTER": "05"},
            {"api_key": None},
            ("FILE", ["file-key"], "https://sdk-05.moengage.com/v1"),
        ),
    ],
    ids=["file", "environment", "keywords", "nested", "section", "empty"],
)
def test_keyword_beats_environment_beats_file(
    tmp_path: Path,
    environ: dict[str, str],
    keywords: dict[str, Any],
    expected: tuple[str, list[str], str],
) -> None:
    path = write(tmp_path, FILE_TEXT)

    loaded = Settings.load(path, environ=environ, **keywords)

    assert (loaded.workspace.id, keys_of(loaded), loaded.workspace.url) == expected


def test_keyword_mapping_replaces_single_values(tmp_path: Path) -> None:
    path = write(tmp_path, f"{FILE_TEXT}\nfetch: {{timeout: 0.1, tries: 2}}")

    loaded = Settings.load(path, environ={}, fetch={"timeout": 5})

    assert (loaded.fetch.timeout, loaded.fetch.tries) == (5, 2)


def test_key_from_the_environment_replaces_both_keys_of_the_file(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, "workspace: {id: W, api_keys: [a, b]}\nroutes: []")

    loaded = Settings.load(path, environ={"MOE_API_KEY": "env-key"})

    assert keys_of(loaded) == ["env-key"]


def test_overridden_variable_need_not_exist(tmp_path: Path) -> None:
    path = write(tmp_path, "workspace: {id: '${NO}', api_key: '${NO}'}\nroutes: []")

    loaded = Settings.load(path, environ=CREDENTIALS)

    assert loaded.workspace.id == "ENV"
    assert keys_of(loaded) == [SECRET]


@pytest.mark.parametrize(
    "workspace",
    ["{id: WORKSPACE}", "{id: WORKSPACE, api_key: '${MOE_API_KEY}'}"],
    ids=["override", "variable"],
)
def test_key_is_read_from_the_file_that_the_environment_names(
    tmp_path: Path, workspace: str
) -> None:
    (tmp_path / "key").write_text(f"\n{SECRET}\n")
    path = write(tmp_path, f"workspace: {workspace}\nroutes: []")

    loaded = Settings.load(path, environ={"MOE_API_KEY_FILE": str(tmp_path / "key")})

    assert keys_of(loaded) == [SECRET]


def test_unreadable_key_file_is_a_problem_that_keeps_the_secret(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, FILE_TEXT)

    with pytest.raises(SettingsError) as caught:
        Settings.load(path, environ={"MOE_API_KEY_FILE": SECRET})

    message = str(caught.value)
    assert message.startswith(
        "MOE_API_KEY: MOE_API_KEY_FILE names a file that gives no value: "
    )
    assert SECRET not in message


def test_mistake_in_an_override_names_the_variable(tmp_path: Path) -> None:
    path = write(tmp_path, FILE_TEXT)

    with pytest.raises(SettingsError) as caught:
        Settings.load(path, environ={"MOE_DATA_CENTER": "7"}, fetch={"tries": 0})

    assert str(caught.value).splitlines() == [
        "MOE_DATA_CENTER: unknown data center '7': use one of 01, 02, 03, 04, 05, "
        "06, 101, sandbox",
        "fetch.tries: 0 is too small: it must be at least 1",
    ]


def test_moe_config_names_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, FILE_TEXT)

    assert Settings.load(environ={"MOE_CONFIG": str(path)}).workspace.id == "FILE"


def test_file_that_is_not_there_is_named() -> None:
    problems = problems_of(Path("nowhere.yml"))

    assert problems == [
        f"nowhere.yml: there is no such file, it was looked for in {Path.cwd()}: "
        "create it or name another"
    ]


@each(
    "content",
    [
        "workspace:\n  id: w\n  api_key: the-key-itself\nroutes: []\n",
        "workspace: {id: w, api_key: the-key-itself}",
        '\ufeff{"workspace":{"id":"w","api_key":"the-key-itself"}}',
        "# long\nworkspace: {id: w, api_key: the-key-itself}\n" * 200,
    ],
)
def test_a_files_content_in_place_of_its_path_is_not_repeated(content: str) -> None:
    expected = "this is the content of a file, and not its path"

    def check(name: str, call: Callable[[], object]) -> None:
        with pytest.raises(SettingsError) as caught:
            call()
        assert str(caught.value).startswith(f"{name}: {expected}")
        assert "the-key-itself" not in str(caught.value)

    check("the path", partial(Settings.load, content))
    check("the path", partial(Sandbox, content))
    check("MOE_CONFIG", partial(Settings.load, environ={"MOE_CONFIG": content}))


def test_a_missing_file_of_moe_config_says_so() -> None:
    with pytest.raises(SettingsError, match="no such file, MOE_CONFIG names it"):
        Settings.load(environ={"MOE_CONFIG": "/nowhere/moe.yml\n"})


@pytest.mark.parametrize(
    "environ",
    [{"MOE_DATA_CENTER": "sandbox"}, {"DC": "sandbox"}],
    ids=["override", "variable"],
)
def test_sandbox_needs_no_credentials(tmp_path: Path, environ: dict[str, str]) -> None:
    path = write(
        tmp_path,
        "workspace: {id: '${NO}', api_keys: ['${NEW}', '${OLD}'],"
        " data_center: '${DC:-01}'}\nroutes: []",
    )

    loaded = Settings.load(path, environ=environ)

    assert loaded.workspace.id == "sandbox"
    assert keys_of(loaded) == ["sandbox-key"]
    assert loaded.workspace.embedded
    assert loaded.workspace.url == "http://sandbox.invalid/v1"


def test_sandbox_with_a_base_url_is_a_server() -> None:
    made = Settings(data_center="sandbox", base_url="http://127.0.0.1:8787/v1")

    assert not made.workspace.embedded
    assert made.workspace.url == "http://127.0.0.1:8787/v1"
    assert made.workspace.id == "sandbox"


def test_settings_are_built_from_short_keywords() -> None:
    made = Settings(
        workspace_id="W",
        api_key=SECRET,
        routes=[
            Route(path="/", experiences=("hero",)),
            {"path": "/b", "experiences": ["x"]},
        ],
    )

    assert made.workspace.id == "W"
    assert keys_of(made) == [SECRET]
    assert [route.path for route in made.routes] == ["/", "/b"]


def test_wrong_keywords_are_all_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(
            workspace_id="W",
            workspace={"id": "X"},
            api_key=[SECRET],
            route=[],
            fetch={"timeout": "300ms"},
        )

    assert str(caught.value).splitlines() == [
        "workspace_id: workspace_id and workspace say it twice: keep one of the two",
        "api_key: the value is not text",
        "fetch.timeout: '300ms' is not a duration: give seconds as a number, as in 0.3",
        "route: unknown key 'route': did you mean 'routes'?",
    ]
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@each(
    ("keywords", "message"),
    [
        ({"base_url": "http://["}, "base_url: this is no base URL"),
        ({"base_url": "http://a/v1?key=sekret"}, "base_url: this is no base URL"),
        ({"base_url": "http://a b/v1"}, "base_url: this is no base URL"),
        ({"base_url": 7}, "base_url: '7': this is no base URL"),
        ({"base_url": ["x"]}, "base_url: a list is not text"),
        ({"data_center": 7}, "data_center: unknown data center 7: use"),
        ({"data_center": True}, "data_center: unknown data center true: use"),
        ({"workspace_id": None}, "workspace.id: missing: "),
        ({"fetch": {"timeout": [1]}}, "fetch.timeout: a list is not a duration"),
        ({"fetch": {"timeout": 99.5}}, "fetch.timeout: 99.5 is too large"),
        ({"fetch": {"timeout": 10**400}}, "fetch.timeout: 1000"),
        ({"fetch": {"trust_env": 1}}, "fetch.trust_env: 1 is not a boolean"),
        ({"fetch": Workspace}, "fetch: <class"),
        ({"cache": {1: 2}}, "cache.1: 1: "),
        ({"attributes": {"": {"cookie": "a"}}}, "attributes..[key]: '' is too short"),
        (
            {
                "routes": [
                    {
                        "path": "/{sku}",
                        "experiences": ["hero"],
                        "attributes": {
                            "a": ValueSource.model_validate({"path": "b"}),
                            "c": 1,
                        },
                    }
                ]
            },
            "routes.0.attributes.c: 1 does not say where the value comes from",
        ),
        ({"routes": [{"path": "/" + "a{" * 90, "experiences": ["hero"]}]}, "routes.0"),
    ],
)
def test_wrong_keyword_is_reported_in_a_sentence(
    keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**{"workspace_id": "W", "api_key": "k", **keywords})

    assert str(caught.value).startswith(message)
    assert "sekret" not in str(caught.value)


def test_a_proxy_on_a_unix_socket_can_be_trusted() -> None:
    made = Settings(data_center="sandbox", trusted_proxies=["unix:", "10.0.0.0/8"])

    assert made.trusted_proxies == ("unix:", "10.0.0.0/8")


def test_a_sandbox_server_gets_the_keys_that_are_given() -> None:
    made = Settings(
        data_center="sandbox", base_url="http://127.0.0.1:8787/v1", api_keys=["a", "b"]
    )

    assert keys_of(made) == ["a", "b"]


def test_the_embedded_sandbox_never_gets_a_real_workspaces_credentials() -> None:
    made = Settings(data_center="sandbox", workspace_id="W1", api_key="real")

    assert made.workspace.id == "sandbox"
    assert keys_of(made) == ["sandbox-key"]


@pytest.mark.parametrize(("given", "expected"), [(True, "on"), (False, "off")])
def test_anonymous_is_also_a_boolean(given: bool, expected: str) -> None:
    made = Settings(data_center="sandbox", identity={"anonymous": given})

    assert made.identity.anonymous == expected


def test_settings_need_a_workspace() -> None:
    with pytest.raises(SettingsError, match=r"workspace: missing: .*MOE_WORKSPACE_ID"):
        Settings()


def test_plain_settings_do_not_look_at_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOE_DATA_CENTER", "06")

    assert Settings(workspace_id="W", api_key="k").workspace.data_center == "01"
    environ = Settings.from_env(workspace_id="W", api_key="k").workspace
    assert environ.data_center == "06"


def test_settings_are_frozen() -> None:
    made = Settings(data_center="sandbox")

    with pytest.raises(ValueError, match="frozen"):
        made.routes = ()


def read_as_editors_do(path: Path) -> object:
    return YAML(typ="safe").load(path.read_text())


validator = functools.cache(lambda: Draft7Validator(Settings.json_schema()))


def schema_problems(value: object) -> list[str]:
    return [error.message for error in validator().iter_errors(value)]


def test_schema_is_a_schema_with_descriptions() -> None:
    schema = Settings.json_schema()

    Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "moe.yml" in schema["title"]
    assert "api_key" not in schema["properties"]
    sections = [schema, *schema["definitions"].values()]
    fields = [field for section in sections for field in section["properties"].values()]
    assert len(fields) > 40
    assert all("description" in field or "$ref" in str(field) for field in fields)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_schema_accepts_what_the_model_accepts(path: Path) -> None:
    assert schema_problems(read_as_editors_do(path)) == []


@each(
    "path",
    [path for path in BAD if path.name not in UNSEEN_BY_THE_SCHEMA],
)
def test_schema_refuses_what_the_model_refuses(path: Path) -> None:
    try:
        value = read_as_editors_do(path)
    except YAMLError:
        return  # an editor says so without a schema
    assert schema_problems(value)


@pytest.mark.parametrize("name", UNSEEN_BY_THE_SCHEMA)
def test_schema_cannot_see_these(name: str) -> None:
    assert schema_problems(read_as_editors_do(FILES / "bad" / name)) == []


def one_mistake_apart() -> list[tuple[str, object]]:
    """Return single wrong values, each by the key path that it belongs at."""
    return [
        ("workspace.data_center", "07"),
        ("workspace.dialect", "flatt"),
        ("workspace.base_url", "shop.example"),
        ("workspace.api_keys", ["a", "b"]),
        ("identity.anonymous", "maybe"),
        ("identity.customer_id", {"cookie": "a", "header": "b"}),
        ("identity.customer_id", {}),
        ("identity.anonymous_cookie", "my cookie"),
        ("attributes", {"user_id": {"cookie": "a"}}),
        ("routes", [{"path": "products", "experiences": ["hero"]}]),
        ("routes", [{"path": "/", "experiences": []}]),
        ("routes", [{"path": "/", "experiences": ["hero"], "methods": ["GETT"]}]),
        ("routes", [{"path": "/", "experiences": ["hero"], "methods": []}]),
        ("routes", [{"path": "/", "experiences": ["hero"], "hosts": []}]),
        ("routes", [{"path": "/", "experiences": ["hero"], "timeout": 0}]),
        ("routes", [{"path": "/"}]),
        ("fetch.timeout", "300ms"),
        ("fetch.tries", 0),
        ("fetch.tries", True),
        ("cache.max_entries", True),
        ("fetch.trust_env", "yes"),
        ("cache.ttl", -1),
        ("cache.redis", "http://localhost"),
        ("cache.max_bytes", 0),
        ("fetch.prefetch", "later"),
        ("budget.store", "mysql://moe"),
        ("metadata.interval", "daily"),
        ("events.outbox", "postgres://moe"),
        ("events.synchronous", "off"),
        ("events.when_full", "wait"),
        ("observer", "metrics"),
        ("trusted_proxies", ["*"]),
        ("bots.alsoo", ["x"]),
    ]


@each(("place", "value"), one_mistake_apart())
def test_schema_and_model_both_see_a_single_mistake(place: str, value: object) -> None:
    tree: dict[str, Any] = {"workspace": {"id": "W", "api_key": "k"}, "routes": []}
    assert schema_problems(tree) == []
    section, _, key = place.partition(".")
    if key:
        tree.setdefault(section, {})[key] = value
    else:
        tree[section] = value

    assert schema_problems(tree)
    with pytest.raises(SettingsError) as caught:
        Settings(**tree)
    assert len(caught.value.problems) == 1


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "api_key", "path", "experiences", "attributes", "cookie", "ttl"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), trees))
def test_nothing_but_a_settings_error_comes_of_any_tree(tree: dict[str, Any]) -> None:
    try:
        made = Settings(**tree)
    except SettingsError as error:
        assert error.problems
    else:
        assert made.workspace.keys


def test_the_walk_over_the_sources_names_each_by_its_place() -> None:
    route = {"path": "/{sku}", "experiences": ["hero"]}
    made = Settings(
        workspace={"data_center": "sandbox"},
        identity={
            "customer_id": {"session": "id"},
            "visitor_id": {"cookie": "browser"},
            "user_identifiers": {"u_em": {"user": "email"}},
        },
        attributes={"utm_medium": {"query": "utm_medium"}},
        consent={"given_by": {"call": "shop:consents"}},
        routes=[
            {**route, "attributes": {"sku": {"path": "sku"}}},
            {**route, "attributes": {"plan": {"value": "gold"}}},
        ],
    )

    walked = {place: str(source) for place, source in made.sources()}

    assert walked == {
        "identity.customer_id": "session id",
        "identity.visitor_id": "cookie browser",
        "consent.given_by": "call shop:consents",
        "identity.user_identifiers.u_em": "user email",
        "attributes.utm_medium": "query utm_medium",
        "routes.0.attributes.sku": "path sku",
        "routes.1.attributes.plan": "value gold",
    }


def test_a_name_in_vary_that_no_attribute_has_stops_a_file(tmp_path: Path) -> None:
    text = """\
workspace: {data_center: sandbox}
attributes: {utm_medium: {query: utm_medium}}
routes:
  - {path: "/p/{sku}", experiences: [a], attributes: {sku: {path: sku}}, vary: [skuu]}
  - {path: "/", experiences: [a], vary: [sku, utm_medium, USER_AGENT]}
cache: {vary: [utm_mediun, USER_AGEN, nothing_like_it]}
"""
    path = write(tmp_path, text)

    problems = problems_of(path)

    known = "DAY_OF_THE_WEEK, TIME_OF_THE_DAY, USER_AGENT, USER_IP_ADDRESS, sku, "
    assert problems == [
        f"{path}:4: routes.0.vary.0: unknown attribute 'skuu': did you mean 'sku'?",
        f"{path}:6: cache.vary.0: unknown attribute 'utm_mediun': did you mean "
        "'utm_medium'?",
        f"{path}:6: cache.vary.1: unknown attribute 'USER_AGEN': did you mean "
        "'USER_AGENT'?",
        f"{path}:6: cache.vary.2: unknown attribute 'nothing_like_it': use one of "
        f"{known}utm_medium",
    ]
