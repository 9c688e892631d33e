"""The workspace file: what it means, what it refuses, and how it follows changes."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from moe_middleware.models.errors import SettingsError
from moe_middleware.sandbox.workspace.faults import Fault
from moe_middleware.sandbox.workspace.file import (
    WorkspaceFile,
    parse_workspace,
    workspace_schema,
)
from moe_middleware.sandbox.workspace.rules import (
    AllOf,
    AnyOf,
    AttributeMeets,
    Device,
    Fact,
    FactIsIn,
    NoneOf,
    Operator,
    ParameterMeets,
    Rule,
    SegmentIs,
    UserIsIn,
)
from moe_middleware.sandbox.workspace.schedules import Schedule, Status
from moe_middleware.sandbox.workspace.workspace import (
    Audience,
    DataType,
    Value,
    Workspace,
)

from ...rows import each
from ..arrivals import has

ALL_USERS = "{name: All Users, variations: [{payload: {}}]}"


def load(text: str, **environ: str) -> Workspace:
    return parse_workspace(text, file="workspace.yml", environ=environ)


def problems(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


def audience(text: str) -> Audience:
    """The audience that these lines describe, beside its name and variations."""
    lines = "".join(f"        {line}\n" for line in text.splitlines())
    workspace = load(
        "users: [{id: ada}, {id: bob}]\nsegments: {Readers: {users: [ada]}}\n"
        "experiences:\n  - key: homepage-banner\n    name: Homepage banner\n"
        f"    locales: [pt, de]\n    audiences:\n      - name: Some\n{lines}"
        + ("        variations: [{payload: {}}]\n" * ("variations:" not in text))
    )
    return workspace.experiences[0].audiences[0]


HERE = "experiences.homepage-banner"
MANY = "a list has too many entries: it may have at most"
EMPTY = "an empty list: it needs at least one entry"
SHORT = "is too short: it needs at least 5 character(s)"


def experience(**fields: str) -> str:
    """A file with one experience, its fields as YAML."""
    good = {
        "key": "homepage-banner",
        "name": "Homepage banner",
        "audiences": f"[{ALL_USERS}]",
    }
    inner = ", ".join(f"{k}: {v}" for k, v in (good | fields).items() if v)
    return f"experiences: [{{{inner}}}]"


def test_small_file_has_the_products_defaults() -> None:
    workspace = load(experience())

    (one,) = workspace.experiences
    (everyone,) = one.audiences
    assert workspace == Workspace(experiences=(one,))
    assert (one.status, one.schedule, one.locales) == (Status.ACTIVE, None, ())
    assert (everyone.audience_id, everyone.rules) == ("1A", ())
    assert [(arm.variation_id, arm.percent) for arm in everyone.variations] == [
        ("1", 100)
    ]


def test_everything_of_the_workspace_is_read() -> None:
    workspace = load(
        """
name: Tea
id: W1
api_keys: [new, old]
timezone: Asia/Kolkata
users:
  - {id: 42,
     attributes: {orders: 3, ratio: 0.5, tags: [a, 1], ok: true, day: 2026-01-02},
     identifiers: {u_em: a@shop.example, u_mb: 3512}}
segments: {Readers: {users: 42, where: {attribute: tags, has_any: a}}}
control_group: {percent: 5, users: ["42"]}
geography: {places: {203.0.113.7/24: {country: Portugal, city: Lisbon}}}
limits: {fetches_per_minute: 7, active_experiences: 1}
switches: {strict_platform: true, flat_ids: false}
faults: [{path: fetch, status: 503, times: 2}]
"""
    )

    (customer,) = workspace.customers
    (segment,) = workspace.segments
    assert (workspace.name, workspace.workspace_id) == ("Tea", "W1")
    assert workspace.api_keys == ("new", "old")
    assert workspace.timezone == "Asia/Kolkata"
    assert customer.customer_id == "42"
    assert customer.attributes == {
        "orders": 3,
        "ratio": 0.5,
        "tags": ["a", 1],
        "ok": True,
        "day": "2026-01-02",
    }
    assert {type(value) for value in customer.attributes.values()} == {
        *(int, float, list, bool, str)
    }
    assert customer.identifiers == {"u_em": "a@shop.example", "u_mb": "3512"}
    assert segment.customer_ids == {"42"}
    assert segment.rule == AttributeMeets("tags", Operator.HAS_ANY, ("a",))
    assert workspace.control_group.percent == 5
    assert workspace.control_group.customer_ids == {"42"}
    location = workspace.geography.locate("203.0.113.200")
    assert location is not None
    assert (location.country, location.city) == ("Portugal", "Lisbon")
    assert (workspace.fetch_limit, workspace.active_limit) == (7, 1)
    assert (workspace.strict_platform, workspace.flat_ids) == (True, False)
    assert workspace.faults == (Fault(path="fetch", status=503, times=2),)


def where(name: str, operator: Operator, *operands: Any, **more: Any) -> Rule:
    return AttributeMeets(name, operator, operands, **more)


@each(
    ("text", "rules"),
    [
        ("where: {attribute: tier, is: gold}", [has("tier", "gold")]),
        (
            "where: {attribute: orders, is: [1, 2.5, true]}",
            [has("orders", 1, 2.5, True)],
        ),
        (
            "where: {attribute: tier, is: Gold, ignore_case: true}",
            [where("tier", Operator.IS, "Gold", ignore_case=True)],
        ),
        (
            "where: {attribute: orders, between: [1, 9]}",
            [where("orders", Operator.BETWEEN, 1, 9)],
        ),
        (
            "where: {attribute: day, between: [2026-01-01, 2026-01-02]}",
            [where("day", Operator.BETWEEN, "2026-01-01", "2026-01-02")],
        ),
        (
            "where: {attribute: tier, exists: false}",
            [where("tier", Operator.EXISTS, False)],
        ),
        (
            "where: {all: [{attribute: a, is: 1}, "
            "{any: [{attribute: b, above: 2}, {segment: Readers}]}]}",
            [
                has("a", 1),
                AnyOf((where("b", Operator.ABOVE, 2), SegmentIs("Readers"))),
            ],
        ),
        (
            "where: {any: [{attribute: a, is: 1}, "
            "{all: [{attribute: b, is: 2}, {attribute: c, is: 3}]}]}",
            [AnyOf((has("a", 1), AllOf((has("b", 2), has("c", 3)))))],
        ),
        ("segment: Readers", [SegmentIs("Readers")]),
        (
            "exclude: {users: bob, segment: Readers, where: {attribute: a, is: 1}}",
            [NoneOf((has("a", 1), SegmentIs("Readers"), UserIsIn(("bob",))))],
        ),
        ("exclude: {}", []),
        (
            "in_session: {query: {utm_medium: email, ref: [a, b]}}",
            [
                ParameterMeets("utm_medium", Operator.IS, ("email",)),
                ParameterMeets("ref", Operator.IS, ("a", "b")),
            ],
        ),
        (
            "in_session: {days: [sunday, Monday], hours: [7, 08, '23']}",
            [
                FactIsIn(Fact.DAYS, ("Sunday", "Monday")),
                FactIsIn(Fact.HOURS, ("07", "08", "23")),
            ],
        ),
        (
            "in_session: {country: {include: [PT, Spain]}, city: {exclude: Lisbon}}",
            [
                FactIsIn(Fact.COUNTRY, ("PT", "Spain")),
                FactIsIn(Fact.CITY, ("Lisbon",), exclude=True),
            ],
        ),
        (
            "in_session: {device: {exclude: [Mobile, tablet]}}",
            [FactIsIn(Fact.DEVICE, (Device.MOBILE, Device.TABLET), exclude=True)],
        ),
    ],
)
def test_audience_asks_what_its_lines_say(text: str, rules: list[Rule]) -> None:
    assert audience(text).rules == tuple(rules)


def test_payload_values_have_their_types() -> None:
    text = """variations:
  - payload:
      Text: Sale
      Digits: "03"
      Number: 7
      Float: 0.5
      Flag: true
      Json: {a: [1, null, {b: 2.5}]}
      List: [1]
      As text: {value: 7.10, data_type: string}
      As float: {value: 7, data_type: float}
      As json: {value: "{\\"a\\": 1}", data_type: json}
      Template: {value: "{{ UserAttribute.n }}", data_type: number}
      Not the long form: {data_type: 1}
      Empty: ""
    locales: {pt: {Text: Saldos}}"""

    (arm,) = audience(text).variations

    assert arm.payload == {
        "Text": Value("Sale"),
        "Digits": Value("03"),
        "Number": Value(7, DataType.NUMBER),
        "Float": Value(0.5, DataType.FLOAT),
        "Flag": Value(True, DataType.BOOLEAN),
        "Json": Value({"a": [1, None, {"b": 2.5}]}, DataType.JSON),
        "List": Value([1], DataType.JSON),
        "As text": Value("7.10"),
        "As float": Value(7, DataType.FLOAT),
        "As json": Value('{"a": 1}', DataType.JSON),
        "Template": Value("{{ UserAttribute.n }}", DataType.NUMBER),
        "Not the long form": Value({"data_type": 1}, DataType.JSON),
        "Empty": Value(""),
    }
    assert type(arm.payload["Number"].value) is int
    assert type(arm.payload["Float"].value) is float
    assert arm.locales == {"pt": {"Text": Value("Saldos")}}


def test_schedule_is_in_its_own_timezone_else_the_workspaces() -> None:
    schedule = "{start: 2026-11-22, end: '2026-11-22T12:30', timezone: Europe/Paris}"
    own = load("timezone: Asia/Kolkata\n" + experience(schedule=schedule))
    plain = load(
        "timezone: Asia/Kolkata\n"
        + experience(schedule="{start: 2026-11-22, end: '2026-11-23T00:00Z'}")
    )

    midnight = 1_795_305_600.0  # 2026-11-22T00:00Z
    assert own.experiences[0].schedule == Schedule(
        start_at=midnight - 3_600,
        end_at=midnight + 11.5 * 3_600,
        timezone="Europe/Paris",
    )
    assert plain.experiences[0].schedule == Schedule(
        start_at=midnight - 5.5 * 3_600,
        end_at=midnight + 24 * 3_600,
        timezone="Asia/Kolkata",
    )


def test_cid_token_is_made_of_the_key_alone() -> None:
    texts = (
        experience(),
        experience(name="Another name"),
        experience(key="promo-strip"),
    )
    one, same, other = (load(text).experiences[0].cid_token for text in texts)

    assert one == same != other


def of(count: int, item: str) -> str:
    return "[" + ", ".join([item] * count) + "]"


ARM = "{payload: {}}"


PERCENT = "{name: A, variations: [{percent: 9, payload: {}}]}"

MISTAKES = {
    "nmae: x": "nmae: unknown key 'nmae': did you mean 'name'?",
    "name: x\nswitches:\n  strict_platfrom: true": (
        "workspace.yml:3: switches.strict_platfrom: unknown key 'strict_platfrom': did "
        "you mean 'strict_platform'?"
    ),
    "timezone: Asia/Kolkatta": (
        "timezone: unknown timezone 'Asia/Kolkatta': did you mean 'Asia/Kolkata'?"
    ),
    "timezone: ../../etc/passwd": (
        "timezone: unknown timezone '../../etc/passwd': write one as in Europe/Lisbon "
        "or UTC"
    ),
    "api_keys: [a, b, c]": f"api_keys: {MANY} 2",
    "api_keys: []": f"api_keys: {EMPTY}",
    "limits: {fetches_per_minute: 0}": (
        "limits.fetches_per_minute: 0 is too small: it must be at least 1"
    ),
    "id: ${WS}": (
        "id: the variable WS is not set: set it or WS_FILE, or give a default, as in "
        "${WS:-default}"
    ),
    "users: [{id: a}, {id: a}]": (
        "users.a.id: 'a' is there already: id must be its own"
    ),
    "users: [{id: a, identifiers: {a: b, c: d, e: f, g: h, i: j, k: l}}]": (
        f"users.a.identifiers: {MANY.replace('list', 'mapping')} 5"
    ),
    "users: [{id: a, attributes: {b: [.inf]}}]": (
        "users.a.attributes.b: .inf is no JSON: give a finite number"
    ),
    "segments: {A: {}}": "segments.A: it has no members: give users or where",
    "segments: {A: {users: [ada]}}\nusers: [{id: Ada}]": (
        "segments.A.users.0: unknown user 'ada': did you mean 'Ada'?"
    ),
    "segments: {A: {where: {segment: B}}, B: {where: {any: [{segment: A}]}}}": (
        "segments.A: is made of itself"
    ),
    "geography: {places: {300.1.1.1: {city: X}}}": (
        "geography.places.300.1.1.1: '300.1.1.1' is no network: write one as in "
        "203.0.113.0/24 or 2001:db8::1"
    ),
    "faults: [{path: fetch, status: 200}]": "faults.0: status is 200: use 400 to 599.",
    experience(key="hero"): f"experiences.hero.key: 'hero' {SHORT}",
    experience(key="k" * 51): (
        f"experiences.0.key: '{'k' * 51}' is too long: it may have at most 50 "
        "characters"
    ),
    experience(name="Hero"): f"{HERE}.name: 'Hero' {SHORT}",
    experience(status="actve"): (
        f"{HERE}.status: unknown status 'actve': did you mean 'Active'? There are "
        "Active, Paused, Scheduled, Expired, Draft"
    ),
    experience(audiences="[]"): f"{HERE}.audiences: {EMPTY}",
    experience(audiences=of(11, ALL_USERS)): f"{HERE}.audiences: {MANY} 10",
    experience(audiences=f"[{{name: A, variations: {of(6, ARM)}}}]"): (
        f"{HERE}.audiences.A.variations: {MANY} 5"
    ),
    experience(audiences=f"[{PERCENT}]"): (
        f"{HERE}.audiences.A.variations: add up to 9 percent: make it 100"
    ),
    experience(schedule="{start: 2026-02-01, end: 2026-01-01}"): (
        f"{HERE}.schedule.end: 2026-01-01 is not after the start"
    ),
    experience(schedule="{start: soon}"): (
        f"{HERE}.schedule.start: 'soon' is no date: write 2026-11-22 or "
        "2026-11-22T09:00"
    ),
    experience(cid_token="66D5"): (
        f"{HERE}.cid_token: '66D5' is not 24 hex digits in lower case"
    ),
    experience(control_group="{percent: 101}"): (
        f"{HERE}.control_group.percent: 101 is too large: it may be at most 100"
    ),
    "- a": "is not a mapping: write lines of 'key: value'",
    "": "is empty: it needs a mapping, lines of 'key: value'",
}


@each("text", MISTAKES)
def test_mistake_is_reported_with_its_line(text: str) -> None:
    problem = problems(text)[0]

    # Most are on the first line.
    assert problem.removeprefix("workspace.yml:1: ") == MISTAKES[text]
    assert problem.startswith("workspace.yml:")


def value(fields: str) -> str:
    return f"variations: [{{payload: {{a: {{value: {fields}}}}}}}]"


def arms(*fields: str) -> str:
    """Variations with an empty payload and these fields."""
    made = ", ".join(f"{{payload: {{}}, {one}}}" for one in fields)
    return f"variations: [{made}]"


@each(
    ("text", "mistake"),
    [
        ("where: {attribute: a}", "missing: how to compare the attribute, one of is, "),
        ("where: {is: a}", "missing: an attribute, a segment, all or any"),
        ("where: {attribute: a, is: 1, above: 2}", "is and above at once"),
        ("where: {attribute: a, segment: b, is: 1}", "attribute and segment at once"),
        ("where: {all: [{attribute: a, is: 1}], is: 2}", "compares an attribute"),
        ("where: {all: []}", "all: an empty list"),
        ("where: {attribute: a, is: []}", "an empty list: nothing is one of no"),
        ("where: {attribute: a, is: {b: 1}}", "a mapping is no value to compare with"),
        ("where: {attribute: a, above: x}", "'x' is not a number"),
        ("where: {attribute: a, above: .nan}", ".nan is not a finite number"),
        ("where: {attribute: a, between: 7}", "7 is no range: write it as [1, 10]"),
        ("where: {attribute: a, between: [2, 1]}", "2 comes after 1: the smaller"),
        ("where: {attribute: a, between: [2026-02-01, 7]}", "7 is no date"),
        ("where: {attribute: a, on: 2026-02-30}", "'2026-02-30' is no date"),
        ("where: {attribute: a, in_the_last: 0}", "0 is too small"),
        ("where: {attribute: a, exists: 1}", "1 is not a boolean: write true or false"),
        ("where: {attribute: a, iss: 1}", "unknown key 'iss': did you mean 'is'?"),
        (
            *("where: {all: [{any: [{all: [{attribute: a, is: 1}]}]}]}",),
            "where.all.0.any.0.all: nests too deep: MoEngage has one nested level",
        ),
        ("where: {segment: Reader}", "'Reader': did you mean 'Readers'"),
        ("segment: x", "unknown segment 'x': use one of Readers"),
        ("exclude: {users: [adda]}", "unknown user 'adda': did you mean 'ada'?"),
        ("exclude: {segment: x}", "exclude.segment: unknown segment 'x'"),
        ("in_session: {days: Sundey}", "unknown day 'Sundey': did you mean 'Sunday'?"),
        ("in_session: {hours: [24]}", "'24' is no hour: use 0 to 23"),
        ("in_session: {country: {}}", "give either include or exclude"),
        ("in_session: {device: {include: [phone]}}", "unknown device 'phone': use one"),
        ("in_session: {device: {include: mobile, exclude: tablet}}", "give either"),
        ("in_session: {query: {a: }}", "query.a: no value: leave the name out, or"),
        ("in_session: {query: {a: {}}}", "query.a: missing: how to compare the"),
        ("in_session: {query: {a: {at_last: 5}}}", "did you mean 'at_least'?"),
        ("id: too-long-an-id", "is no id: use 1 to 10 letters and digits"),
        ("variations: [{}]", "payload: missing: its content by name; {} for none"),
        ("variations: [{payload: {a: null}}]", "a: no value: leave the name out"),
        ("variations: [{payload: {a: '{{ x'}}]", "a: this is no template: "),
        ("variations: [{payload: {a: [1, .nan]}}]", ".nan is no JSON: give a finite"),
        ("variations: [{payload: {a: 99999999999999999999}}]", "is too large for a"),
        (value("1, data_type: nmber"), "'nmber': did you mean 'number'?"),
        (value("1, typ: x"), "unknown key 'typ'"),
        (value("x, data_type: number"), "'x' is no number"),
        (value("1, data_type: boolean"), "1 is no boolean"),
        (value("true, data_type: string"), "true is not text: put it in quotes"),
        (arms("percent: 50", ""), "variations: give a percent to all of the"),
        (arms("id: a", "id: a"), "variations.a.id: 'a' is there already"),
        (arms("locales: {pl: {}}"), "unknown locale 'pl': use one of pt, de"),
    ],
)
def test_mistake_of_an_audience_is_reported(text: str, mistake: str) -> None:
    with pytest.raises(SettingsError) as caught:
        audience(text)

    assert mistake in str(caught.value)
    assert all(problem.line for problem in caught.value.problems)


def active(count: int, extra: str = "") -> str:
    lines = [
        f"  - {{key: key-{n}, name: Name {n}, audiences: [{ALL_USERS}]}}\n"
        for n in range(count)
    ]
    return f"{extra}experiences:\n{''.join(lines)}"


def test_twenty_experiences_may_be_active_unless_a_limit_says_more() -> None:
    assert len(load(active(20)).experiences) == 20
    assert len(load(active(21, "limits: {active_experiences: 21}\n")).experiences) == 21
    assert problems(active(21)) == [
        "workspace.yml:22: experiences.key-20.status: one Active experience too many: "
        "a workspace may have 20; pause one, or raise limits.active_experiences"
    ]


def test_every_mistake_is_reported_at_once_in_line_order() -> None:
    text = "timezone: X/Y\nusers:\n  - {id: a, nmae: b}\nlimits:\n  active: 1\n"

    lines = [problem.split(" ")[0] for problem in problems(text)]

    assert lines == ["workspace.yml:1:", "workspace.yml:3:", "workspace.yml:5:"]


PARTS: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner)
    ),
    max_leaves=5,
)


PLACES = [
    *("users", "segments", "geography", "limits", "faults", "switches", "timezone"),
    *("api_keys", "id"),
    *[
        f"experiences.{name}"
        for name in (
            *("key", "name", "status", "schedule", "control_group", "locales"),
            *("audiences", "cid_token", "global_control_group"),
        )
    ],
    *[
        f"audiences.{name}"
        for name in (
            *("name", "id", "where", "segment", "exclude", "in_session"),
            "variations",
        )
    ],
]


@given(place=st.sampled_from(PLACES), part=PARTS)
def test_no_value_in_any_place_raises_anything_but_a_settings_error(
    place: str, part: Any
) -> None:
    inner: dict[str, Any] = {"name": "A", "variations": [{"payload": {}}]}
    one: dict[str, Any] = {"key": "homepage", "name": "Homepage", "audiences": [inner]}
    tree: dict[str, Any] = {"experiences": [one]}
    section, _, name = place.rpartition(".")
    {"": tree, "experiences": one, "audiences": inner}[section][name] = part

    try:
        load(json.dumps(tree))
    except SettingsError as error:
        assert error.problems


def test_schema_is_one_and_refuses_what_we_refuse() -> None:
    schema = workspace_schema()
    Draft7Validator.check_schema(schema)
    validator = Draft7Validator(schema)

    good = {"key": "homepage", "name": "Homepage"}
    audiences = [{"name": "A", "variations": [{"payload": {"a": 1}}]}]
    assert validator.is_valid({"experiences": [good | {"audiences": audiences}]})
    assert validator.is_valid({"name": "${NAME}", "timezone": None})
    broken: list[dict[str, Any]] = [
        {"nmae": "x"},
        {"experiences": [good | {"audiences": []}]},
        {"experiences": [good | {"audiences": audiences * 11}]},
        {"experiences": [good | {"audiences": audiences, "status": "Actve"}]},
        {"experiences": [good | {"audiences": audiences, "key": "hero"}]},
        {"users": [{"attributes": {}}]},
        {"switches": {"strict_platform": 1}},
        {"segments": {"A": {"where": {"attribute": "a", "is": {"b": 1}}}}},
        {"segments": {"A": {"where": {"all": [{"any": [{"all": []}]}]}}}},
    ]
    for bad in broken:
        assert not validator.is_valid(bad), bad


# --- following changes -----------------------------------------------------------


class Followed:
    """A file that is followed, with a clock to move."""

    def __init__(self, path: Path) -> None:
        self.path, self.now, self.writes = path, 0.0, 0
        self.write("name: First")
        self.file = WorkspaceFile(path, environ={}, clock=lambda: self.now)

    def write(self, text: str) -> None:
        self.path.write_text(text)
        # Two writes within one tick of the file system's clock must differ too.
        self.writes += 1
        os.utime(self.path, ns=(self.writes, self.writes))

    def name(self, after: float = 1.0) -> str:
        self.now += after
        return self.file.current().name


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path / "workspace.yml")


def test_file_is_looked_at_once_a_second_at_most_and_read_when_it_changed(
    followed: Followed,
) -> None:
    first = followed.file.current()
    assert (followed.name(after=100), followed.file.current()) == ("First", first)

    # Of the same size.
    followed.write("name: Fifth")
    assert followed.name(after=0.9) == "First"
    assert followed.name(after=0.1) == "Fifth"
    followed.write("name: Third")
    assert followed.name(after=0.9) == "Fifth"


def test_broken_file_keeps_the_last_good_one_and_says_so_once(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    followed.write("nmae: Second")

    with caplog.at_level(logging.INFO, "moe_middleware.sandbox.workspace.file"):
        names = [followed.name() for _ in range(3)]

    assert names == ["First"] * 3
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == (
        "workspace_file_broken, the last good one stays:\n"
        f"{followed.path}:1: nmae: unknown key 'nmae': did you mean 'name'?"
    )
    assert [problem.where for problem in followed.file.problems] == ["nmae"]


def test_file_is_followed_that_is_mended_goes_away_or_is_replaced(
    followed: Followed,
) -> None:
    followed.write("nmae: Second")
    followed.name()
    followed.write("name: Second")
    assert (followed.name(), followed.file.problems) == ("Second", ())

    followed.path.unlink()
    assert followed.name() == "Second"
    assert "there is no such file" in str(followed.file.problems[0])
    followed.write("name: Third")
    assert followed.name() == "Third"

    other = followed.path.with_name("other.yml")
    other.write_text("name: Other")
    os.replace(other, followed.path)
    assert followed.name() == "Other"


def test_file_that_is_wrong_from_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        WorkspaceFile(tmp_path / "workspace.yml")


def test_long_list_of_names_is_shown_once() -> None:
    rules = "[{attribute: a, foo: 1}, {attribute: b, bar: 2}, {attribute: c, foo: 3}]"

    shown = "\n".join(
        problems(experience(audiences=f"[{{name: A, where: {{all: {rules}}}}}]"))
    )

    assert shown.count("does_not_contain") == 1
    assert shown.count("use one of those listed for 'foo'") == 2


def test_a_thread_that_reads_slowly_holds_up_no_other_and_brings_back_nothing_old(
    followed: Followed,
) -> None:
    followed.path.unlink()
    os.mkfifo(followed.path)

    with ThreadPoolExecutor(2) as threads:
        reading = threads.submit(followed.name)
        # It opens once the thread reads, which then waits for what is written.
        with followed.path.open("w") as slow:
            followed.path.unlink()
            followed.write("name: Third")
            assert threads.submit(followed.name).result(5) == "First"
            slow.write("name: Second")

    assert reading.result() == "Second"
    assert followed.name() == "Third"
