"""The reference's tables name everything there is, and say of it what it does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

import moe_middleware
from moe_middleware import openfeature
from moe_middleware import sandbox as sandbox_package
from moe_middleware.browser import beacons, click_links, marks
from moe_middleware.browser import overlay_access as overlay
from moe_middleware.browser import preview_links as preview
from moe_middleware.browser.tokens import MAX_TOKEN
from moe_middleware.sandbox import Fault, Sandbox
from moe_middleware.sandbox.pages.visits import VisitForm
from moe_middleware.settings.visitor_sections import WEB_SDK_COOKIE, IdentitySettings
from moe_middleware.telemetry.prometheus import Metrics
from moe_middleware.testing import django as django_testing
from moe_middleware.visitors.consents import OPT_OUT_COOKIES
from moe_middleware.visitors.ids import DEVICE_COOKIE

from .documents import ROOT, Document
from .sites import Site

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


def page(name: str) -> str:
    return Document(f"docs/reference/{name}.md").text


def rows(text: str, first: str) -> Iterator[list[str]]:
    """Yield the cells of those rows whose first cell begins with this."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and cells[0].startswith(f"`{first}"):
            yield cells


def entries(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the names of each entry's heading, its facts, and its text."""
    parts = re.split(r"^##+ (.*)$", text, flags=re.M)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        facts, found, rest = body.strip().partition("\n{ .facts }")
        if found:
            yield heading.rpartition(" {")[0], facts, rest.strip()


def in_ticks(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_public_name_has_its_entry() -> None:
    pages = (ROOT / "docs").rglob("*.md")
    found = Counter(
        name
        for one in pages
        for name in re.findall(r"^::: (\S+)", one.read_text(encoding="utf-8"), re.M)
    )
    wanted = {f"moe_middleware.{name}" for name in moe_middleware.__all__}
    for module in (sandbox_package, openfeature, django_testing):
        wanted |= {f"{module.__name__}.{name}" for name in module.__all__}
    wanted -= {
        "moe_middleware.__version__",
        # Those of moe_middleware.testing, for short.
        "moe_middleware.testing.django.deliver",
        "moe_middleware.testing.django.sandboxed",
    }

    assert sorted(wanted - {*found}) == []
    assert [name for name, count in found.items() if count > 1] == []


# --- metrics -------------------------------------------------------------------------


def test_every_metric_of_prometheus_is_there_with_its_labels() -> None:
    metrics = Metrics(CollectorRegistry())
    measured = {}
    for one in vars(metrics).values():
        for family in one.describe() if hasattr(one, "describe") else ():
            name = family.name + ("_total" if family.type == "counter" else "")
            measured[name] = (family.type, *one._labelnames)

    listed = {}
    for name, facts, text in entries(page("metrics")):
        assert "**What to do.** " in text
        listed[name.strip("`")] = (facts.partition(" ·")[0], *in_ticks(facts))

    assert listed == measured


def test_every_name_of_opentelemetry_is_there() -> None:
    package = Path(moe_middleware.__file__).parent
    modules = [package / "telemetry" / f"{one}.py" for one in ("otel", "conventions")]
    text = "".join(module.read_text(encoding="utf-8") for module in modules)
    names = {*re.findall(r'"(moe\.[a-z_.]+|feature_flag\.[a-z_.]+)"', text)}

    assert sorted(names - {*in_ticks(page("metrics"))}) == []
    assert len(names) > 20


# --- cookies, tokens and paths -------------------------------------------------------


def test_every_cookie_is_there() -> None:
    ours = [IdentitySettings().anonymous_cookie, DEVICE_COOKIE, preview.COOKIE]
    text = page("cookies")
    set_by_us = [in_ticks(name)[0] for name, *_ in entries(text) if name[0] == "`"]
    read = [name for row in rows(text, "moe_") for name in in_ticks(row[0])]

    assert set_by_us == [*ours, overlay.COOKIE]
    assert read == [WEB_SDK_COOKIE, *OPT_OUT_COOKIES]


def test_every_token_is_there() -> None:
    named = [name.lower() for name, *_ in entries(page("cookies")) if name[0] != "`"]
    purposes = [click_links.PURPOSE, marks.PURPOSE, preview.PURPOSE, overlay.PURPOSE]

    assert named == purposes
    assert f"{MAX_TOKEN:,} characters" in page("cookies")
    assert f"previews {preview.MAX_PREVIEW:,}" in page("cookies")


@pytest.mark.anyio
async def test_a_new_visitors_cookie_is_as_it_is_described() -> None:
    response = await Site().get(base_url="https://shop.example")

    cookie = response.headers["set-cookie"]
    assert cookie.partition("=")[0] == "moe_visitor"
    assert "Path=/; HttpOnly; SameSite=Lax; Secure" in cookie
    assert f"Max-Age={400 * 86_400};" in cookie
    assert "Domain" not in cookie


ON: dict[str, Any] = {
    "secret_key": "a-secret-of-this-test-alone-000000",
    "development": {"overlay": "on"},
    "workspace": {"data_center": "sandbox", "pages": "on"},
}


@pytest.mark.anyio
async def test_paths_take_the_methods_that_the_page_says() -> None:
    site = Site(data_center=None, **ON)
    names = site.runtime.own_paths.names
    assets = sorted(name for name in names if name.endswith(".js"))
    style = preview.STYLE_NAME
    named = set()

    for paths, methods, _ in entries(page("paths")):
        for path in in_ticks(paths):
            named.add(path.split("/")[2])
            real = path.replace("HASH.js", assets[0]).replace("HASH.css", style)
            for method in METHODS:
                response = await site.request(method, real)
                if method in methods.split(", "):
                    # An unsigned token is a 404, as the page says.
                    assert response.status_code != 405, (method, path)
                elif "/o/" not in path:  # its paths differ by the method
                    assert response.status_code == 405, (method, path)
                    allowed = response.headers.get("allow", "").split(", ")
                    assert methods.split(", ") == allowed, path

    assert named == {"HASH.js", *(name for name in names if not name.endswith(".js"))}
    assert len(assets) == 3


def test_limits_of_beacons_are_those_of_the_page() -> None:
    (text,) = (text for name, _, text in entries(page("paths")) if "/e`" in name)

    assert f"413 above {marks.MAX_BODY // 1024} KB" in text
    assert beacons.RATE.burst == 100
    assert beacons.RATE.interval == 0.5


# --- the sandbox ---------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[TestClient]:
    yield TestClient(Sandbox(), base_url="http://localhost")


def test_endpoints_of_the_sandbox_are_there(client: TestClient) -> None:
    text = page("sandbox")
    documented = {cells[0].strip("`"): cells[1] for cells in rows(text, "/")}
    listed = client.get("/").json()

    assert {*documented} == {
        *listed["api"],
        *listed["tools"],
        listed["openapi"],
        *("/", "/_sandbox/report.csv"),
    }
    for path in {*documented} - {*listed["api"], "/_sandbox/reset"}:
        for method in set(METHODS) - {"HEAD"}:
            answered = client.request(method, path).status_code
            assert (answered != 405) == (method in documented[path]), (method, path)


def test_fields_of_the_sandbox_are_there() -> None:
    text = page("sandbox")
    faults = text[text.index("| field |") :]

    assert [row[0].strip("`") for row in rows(faults, "")] == [
        one.name for one in fields(Fault)
    ]
    (explain,) = rows(text, "/_sandbox/explain")
    assert {one.name for one in fields(VisitForm)} <= {*in_ticks(explain[2])}
