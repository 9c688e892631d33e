from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moe_middleware.sandbox import Sandbox, Workspace
from moe_middleware.sandbox.decisions.payloads import payload_for
from moe_middleware.sandbox.workspace.template_worker import MAX_TEXT, Withheld
from moe_middleware.sandbox.workspace.templating import Stopped, check_template, render
from moe_middleware.sandbox.workspace.workspace import DataType, Value, Variation

from ...rows import each
from ..calls import Api

ADA = {
    "First Name": "Ada",
    "orders": 3,
    "teas": ["sencha", "assam"],
    "address": {"city": "Lisbon"},
    "gone": None,
    "markup": "<b>",
    "large": ["x"] * 5_000,
    "inner": [[["x" * 100] * 100] * 100],
}


@each(
    ("text", "expected"),
    [
        ("Hi {{UserAttribute['First Name']|default('Guest')}}", "Hi Ada"),
        ("Hi {{UserAttribute['Nope']|default('Guest')}}", "Hi Guest"),
        ("Hi {{UserAttribute['gone']|default('Guest')}}", "Hi Guest"),
        ("{{ UserAttribute.orders + 1 }}", "4"),
        ("{{ UserAttribute.address.city }}", "Lisbon"),
        ("{{ UserAttribute.get('nope', 'none') }}", "none"),
        ("{{ UserAttribute.teas|join(', ')|upper }}", "SENCHA, ASSAM"),
        ("{% if UserAttribute.orders > 2 %}often{% else %}new{% endif %}", "often"),
        ("{% for tea in UserAttribute.teas %}{{ loop.index }}{{ tea }} {% endfor %}",
         "1sencha 2assam "),
        ("{{ 'a' ~ 1 ~ 'b' }}{% set x = 2 * 3 %}{{ x }}", "a1b6"),
        ("{{ UserAttribute.markup }}{{ UserAttribute.markup|e }}", "<b>&lt;b&gt;"),
        ("{{ 7.456|round(1) }} {{ 7.2|round(0, 'ceil')|int }}", "7.5 8"),
        ("{{ 'tea'|replace('t', 's') }}{{ 'x'.upper() }}", "seaX"),
        ("{% raw %}{{ x }}{% endraw %}{# gone #}", "{{ x }}"),
        ("{{ range(3)|list }}", "[0, 1, 2]"),
        ("{% if false %}{% MOE_NOT_SEND('never') %}{% endif %}sent", "sent"),
        ("{% for a in range(500) %}{{ a % 2 }}{% endfor %}", "01" * 250),
    ],
)  # fmt: skip
def test_template_says_what_it_means(text: str, expected: str) -> None:
    assert render(text, ADA) == expected


@each(
    ("text", "reason"),
    [
        ("{{UserAttribute['Nope']}}", "'Nope' is missing and has no default"),
        ("{{UserAttribute['gone']}}", "'gone' is missing and has no default"),
        ("{{UserAttribute['Nope']|default('MOE_NOT_SEND')}}", "says MOE_NOT_SEND"),
        ("a{% MOE_NOT_SEND %}b", "the template says MOE_NOT_SEND"),
        ("{% MOE_NOT_SEND() %}", "the template says MOE_NOT_SEND"),
        ('{% MOE_NOT_SEND("too few") %}', "the template says MOE_NOT_SEND: too few"),
        ("{{ none }}", "prints an attribute that is null"),
        ("{{ 1 / 0 }}", "the template fails: division by zero"),
    ],
)
def test_template_withholds(text: str, reason: str) -> None:
    with pytest.raises(Withheld, match=r".") as caught:
        render(text, ADA)

    assert reason in str(caught.value)


@each("value", [2**70, "\ud800", 1e300, True, [1, {"a": None}], ""])
def test_every_attribute_prints_the_same_here_and_there(value: Any) -> None:
    for text in ("{{ UserAttribute.x }}", "{% set a = UserAttribute.x %}{{ a }}"):
        assert render(text, {"x": value}) == str(value)


HOSTILE = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(10**9) %}{% endfor %}",
    "{% for a in range(99999) %}{{ UserAttribute.large|string }}{% endfor %}",
    "{{ 'x' ~ UserAttribute.inner ~ UserAttribute.inner ~ UserAttribute.inner }}",
    "{{ UserAttribute.inner }}",
    "{{ 'x' * 10**9 }}",
    "{{ 10**(10**10) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{% set a = 'a' %}" + "{% set a = a|replace('a', 'a' * 99) %}" * 60 + "{{ a }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% include 'x' %}",
    "{{ " + "(" * 1_000 + "1" + ")" * 1_000 + " }}",
    "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "x" * 20_000 + "{{ 1 }}",
    "{{ ''.__class__.__mro__ }}",
    "{{ UserAttribute.__init__.__globals__ }}",
    "{{ UserAttribute.teas.append(1) }}",
    "{{ UserAttribute._attributes.clear() }}",
    "{{ UserAttribute }}",
]


@each("text", HOSTILE)
def test_hostile_template_withholds_and_harms_no_other(text: str) -> None:
    started = time.thread_time()

    with pytest.raises(Withheld):
        render(text, ADA)

    assert time.thread_time() - started < 2
    assert render("{{ UserAttribute.teas|join(', ') }}", ADA) == "sencha, assam"


SLOW = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


async def test_stopped_template_withholds_its_experience_and_is_not_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api(Sandbox(Workspace()))
    text = f"{SLOW}{{{{ 1 }}}}"
    api.sandbox.define("slow-banner", {"Title": text, "Other": "x"})
    api.sandbox.define("good-banner", {"Title": "{% set a = 1 %}{{ a }}"})

    for _ in range(3):
        experiences = await api.experiences({})

    assert list(experiences) == ["good-banner"]
    assert experiences["good-banner"]["payload"]["Title"]["value"] == "1"
    # The first fetch may have no time left for the good one.
    [line] = [one for one in caplog.messages if "template_not_begun" not in one]
    assert line.startswith("template_stopped name='Title': ")
    with pytest.raises(Withheld, match="too long or too much memory") as again:
        render(text, {})
    assert not isinstance(again.value, Stopped)


async def test_hostile_templates_hold_up_neither_the_loop_nor_one_fetch_for_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = Api(Sandbox(Workspace()))
    for number in range(20):
        api.sandbox.define(f"slow-{number}", {"Heading": f"{SLOW}{{{{ {number} }}}}"})
    api.sandbox.define("plain", {"Title": "{{ UserAttribute.name|default('you') }}"})

    fetch = asyncio.create_task(api.experiences({}))
    turns = 0
    while not fetch.done():
        turns += 1
        assert list(await api.experiences({"experience_key": ["plain"]})) == ["plain"]
        await asyncio.sleep(0.01)

    assert turns > 1
    assert list(await fetch) == ["plain"]
    stopped = [one for one in caplog.messages if one.startswith("template_stopped")]
    assert 1 <= len(stopped) < 10
    [not_begun] = [one for one in caplog.messages if "template_not_begun" in one]
    assert "0.5 seconds together" in not_begun


async def test_program_that_others_use_for_long_is_not_waited_for() -> None:
    api = Api(Sandbox(Workspace()))
    keys = ["slow-0", "slow-1"]
    for number, key in enumerate(keys):
        api.sandbox.define(key, {"Title": f"{SLOW}{{{{ -{number} }}}}"})
    api.sandbox.define("good", {"Title": "{% set a = 1 %}{{ a }}"})

    for _ in keys:  # each at least one for good
        fetches = (api.experiences({"experience_key": [key]}) for key in keys)
        assert await asyncio.gather(*fetches) == [{}] * len(keys)

    assert list(await api.experiences({})) == ["good"]


def test_threads_share_the_program() -> None:
    def work(number: int) -> list[str]:
        text = f"{{% for a in range({number}) %}}{{{{ a }}}}{{% endfor %}}"
        return [render(text, {}) for _ in range(20)]

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(work, range(1, 5)))

    assert found == [["0"] * 20, ["01"] * 20, ["012"] * 20, ["0123"] * 20]


def run(script: str, *options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *options, "-c", IMPORTS + script],
        capture_output=True,
        text=True,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


IMPORTS = """
import os, signal, subprocess, sys, warnings
from moe_middleware.sandbox.workspace.templating import Withheld, check_template, render
text = "{% set a = UserAttribute.n %}{{ a }}"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_program_is_each_processs_own_and_starts_again_after_it_is_killed() -> None:
    script = """
print(render(text, {"n": 1}))
command = ["ps", "-o", "pid=", "--ppid", str(os.getpid())]
listed = subprocess.run(command, capture_output=True, text=True).stdout.split()
os.kill(int(listed[0]), signal.SIGKILL)
os.waitid(os.P_PID, int(listed[0]), os.WEXITED | os.WNOWAIT)
print(render(text, {"n": 2}))
warnings.simplefilter("ignore")  # Python 3.12 and later warn of forks with threads
reading, writing = os.pipe()
if (child := os.fork()) == 0:
    os.write(writing, render(text, {"n": 3}).encode())
    os._exit(0)
print(render(text, {"n": 4}), os.read(reading, 9).decode())
os.waitpid(child, 0)
"""

    assert run(script, "-Werror") == ["1", "2", "4 3"]


def test_tiny_template_needs_no_program_and_others_without_one_are_withheld() -> None:
    script = """
sys.executable = "/no/such/python"
texts = [
    "Hi {{UserAttribute.n|default(1)|upper}}",
    "{{ UserAttribute['n'] }}",
    "{% if UserAttribute.n in [1, 2] %}a{% else %}b{% endif %}",
    "{% if UserAttribute.n is defined and UserAttribute.n > 0 %}"
    "{{ UserAttribute.n + 1 }}{% endif %}",
    "{% if not UserAttribute.n %}{% MOE_NOT_SEND('x') %}{% endif %}",
]
print([render(text, {"n": 1}) for text in texts])
check_template(text)
try:
    render(text, {})
except Withheld as error:
    print(error)
"""

    assert run(script) == [
        "['Hi 1', '1', 'a', '2', '']",
        "its program cannot start: No such file or directory",
    ]


@each("text", ["{{ x", "{% nope %}", "{{ x|nope }}", "{% if %}"])
def test_broken_template_is_no_template(text: str) -> None:
    with pytest.raises(ValueError, match="this is no template"):
        check_template(text)


pieces = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{#", "#}", " ", "UserAttribute", "['teas']", ".orders",
     "|", "default", "('x')", "join", "for a in ", "endfor", "if ", "endif", "set x=",
     "1", "+", "*", "~", "(", ")", "[", "]", "range(9)", "MOE_NOT_SEND", "'", "\ud800",
     "x", "loop", "else", ".", "**", "99", "in", "not ", "%", "//", "none"]
)  # fmt: skip


@settings(max_examples=25)
@given(text=st.text() | st.lists(pieces, max_size=25).map("".join))
def test_every_text_is_rendered_or_withheld(text: str) -> None:
    try:
        rendered = render(text, ADA)
    except Withheld as withheld:
        assert str(withheld)
    else:
        assert len(rendered) <= MAX_TEXT


def variation(**values: Value) -> Variation:
    return Variation(
        variation_id="1",
        payload=values,
        locales={"pt": {"title": Value("Olá"), "note": Value("Só em pt")}},
    )


@each(
    ("text", "data_type", "expected"),
    [
        ("{{ UserAttribute.orders }}", "number", 3),
        ("{{ UserAttribute.orders / 2 }}", "number", 1.5),
        ("{{ UserAttribute.orders }}", "float", 3.0),
        ("{{ UserAttribute.orders > 2 }}", "boolean", True),
        ("{{ UserAttribute.teas|tojson }}", "json", ["sencha", "assam"]),
        ("{{ UserAttribute.orders }}", "string", "3"),
    ],
)
def test_rendered_text_becomes_its_data_type(
    text: str, data_type: str, expected: Any
) -> None:
    one = variation(x=Value(text, DataType(data_type)))

    made = payload_for(one, ADA, None)["x"]

    assert made == Value(expected, DataType(data_type))
    assert type(made.value) is type(expected)


@each(
    ("text", "data_type"),
    [
        ("{{ 'many' }}", "number"),
        ("{{ 'nan' }}", "float"),
        ("{{ '1e999' }}", "number"),
        ("{{ 'perhaps' }}", "boolean"),
        ("{{ '[1' }}", "json"),
        ("{{ '[NaN]' }}", "json"),
    ],
)
def test_rendered_text_of_another_type_withholds(text: str, data_type: str) -> None:
    with pytest.raises(Withheld, match=f"x: the template gives .* no {data_type}"):
        payload_for(variation(x=Value(text, DataType(data_type))), ADA, None)


def test_templates_within_json_are_rendered() -> None:
    value = {"to": ["{{ UserAttribute['First Name'] }}", 7, None], "{{ x }}": True}

    made = payload_for(variation(x=Value(value, DataType.JSON)), ADA, None)

    assert made["x"].value == {"to": ["Ada", 7, None], "{{ x }}": True}


def test_language_replaces_and_adds_to_the_payload() -> None:
    one = variation(title=Value("Hello"), link=Value("/"))

    assert payload_for(one, None, "pt") == {
        "title": Value("Olá"),
        "link": Value("/"),
        "note": Value("Só em pt"),
    }
    assert payload_for(one, None, "de") == one.payload


def test_the_program_answers_each_line_until_its_input_ends() -> None:
    orders: list[tuple[str, dict[str, Any], list[str | None]]] = [
        ("Hi {{ UserAttribute.name }}", {"name": "Ada"}, ["Hi Ada", None]),
        ("{{ UserAttribute.x|default('y') }}", {"x": None}, ["y", None]),
        ("{{ UserAttribute|list|length }}", {"a": 1, "b": None}, ["2", None]),
        ("{{ UserAttribute.x }}", {}, [None, "'x' is missing and has no default"]),
        ("{% MOE_NOT_SEND %}", {}, [None, "the template says MOE_NOT_SEND"]),
        ("{{ 1 / 0 }}", {}, [None, "the template fails: division by zero"]),
    ]
    lines = "".join(f"{json.dumps([text, given])}\n" for text, given, _ in orders)

    ran = subprocess.run(
        [sys.executable, "-m", Withheld.__module__],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )

    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert answers == [answer for _, _, answer in orders]
