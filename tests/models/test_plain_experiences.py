"""Experiences and identities are plain values, and what a page changes is its own."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import pickle
from typing import Any

import fastapi
import flask
import httpx
import msgspec
import orjson
import pytest
from fastapi.encoders import jsonable_encoder
from jinja2 import Environment
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from moe_middleware import (
    Experience,
    Experiences,
    Identity,
    Source,
)
from moe_middleware.browser.preview_links import COOKIE, Preview, PreviewLinks
from moe_middleware.models.reasons import Reason
from moe_middleware.sandbox import Sandbox

from ..sites import Site

KEY = "homepage-banner"
SECRET = "a-secret-for-this-test-and-no-other"

FIELDS = ["key", "payload", "experience_context", "source", "reason"]


COPIES: tuple[Any, ...] = (
    *(copy.copy, copy.deepcopy),
    lambda one: pickle.loads(pickle.dumps(one)),
)


def a_hero(**fields: Any) -> Experience:
    given = {"key": KEY, "payload": {"Title": "x", "deep": [{"a": 1}]}, **fields}
    return Experience(experience_context={"cid": "1"}, source=Source.API, **given)


async def on_a_page(identity: dict[str, Any] | None = None) -> tuple[Any, Any]:
    """Return what a handler got, with a secret key in the settings."""
    kept: list[Any] = []

    async def handler(request: Request) -> Response:
        found = request.state.experiences
        kept.extend([found[KEY], found.identity])
        return JSONResponse("")

    given: dict[str, Any] = {"identity": identity} if identity else {}
    site = Site(handler, secret_key=SECRET, **given)
    await site.get(customer="alice")
    return kept[0], kept[1]


@pytest.mark.parametrize(
    "through",
    [
        copy.copy,
        copy.deepcopy,
        lambda one: pickle.loads(pickle.dumps(one)),
        dataclasses.replace,
        lambda one: type(one)(
            **{f.name: getattr(one, f.name) for f in dataclasses.fields(one)}
        ),
    ],
)
async def test_a_copy_is_equal_and_of_no_page(sandbox: Sandbox, through: Any) -> None:
    identifiers = {"user_identifiers": {"u_em": {"value": "a@b.example"}}}
    hero, identity = await on_a_page({"customer_id": {"value": "alice"}, **identifiers})

    for one in (hero, identity, Experience(key="none"), Identity()):
        again = through(one)
        assert again == one and hash(again) == hash(one) and type(again) is type(one)
    assert hero.click_url("/shop", "b").startswith("/_moe/c/")
    assert through(hero).click_url("/shop", "b") == "/shop"


async def test_they_are_json_for_every_encoder(sandbox: Sandbox) -> None:
    for one in await on_a_page():
        fields = dataclasses.asdict(one)
        assert [*fields] == FIELDS or one.customer_id == "alice"
        assert jsonable_encoder(one) == fields == orjson.loads(orjson.dumps(one))
        # FastAPI's response models, and Litestar's encoder.
        model = TypeAdapter(type(one))
        assert model.dump_python(model.validate_python(one), mode="json") == fields
        assert msgspec.to_builtins(one) == fields
        with flask.Flask("any").app_context():
            assert flask.jsonify(one).json == fields
        assert json.loads(json.dumps(fields)) == fields


async def test_all_of_a_page_are_a_mapping_of_plain_values(sandbox: Sandbox) -> None:
    kept: list[Any] = []
    app = fastapi.FastAPI()

    async def home(request: fastapi.Request) -> Any:
        found = request.state.experiences
        kept.extend([dict(found), *(copied(found) for copied in COPIES)])
        for one in kept[1:]:
            one.show(KEY)
        assert found.get(KEY) is found[KEY] and (KEY, found[KEY]) in found.items()
        return {"all": jsonable_encoder(found), "same": dict(found)}

    app.add_api_route("/", home)
    site = Site(app=app, secret_key=SECRET)
    answer = await site.get(customer="alice")
    await site.delivered()

    body = answer.json()
    assert [*body["all"][KEY]] == FIELDS and body["all"] == body["same"]
    assert "private" in answer.headers["cache-control"]
    for one in kept[1:]:
        assert dict(one) == kept[0] and one.identity.customer_id == "alice"
    # A value shown from a copy is shown on no page.
    assert sandbox.impressions(KEY) == 0


def test_one_is_gone_through_by_the_names_of_its_values() -> None:
    hero = a_hero()
    template = Environment().from_string(
        "{% for name in hero %}{{ name }}={{ hero[name] }};{% endfor %}"
        "{{ hero|length }}"
    )

    assert [*hero] == ["Title", "deep"]
    assert template.render(hero=hero) == "Title=x;deep=[{'a': 1}];2"
    assert [*Experience(key=KEY)] == []
    # A match without values is a match.
    assert a_hero(payload={})


async def test_experiences_of_no_page_answer_and_count_nothing() -> None:
    plain = Experiences([a_hero()])

    assert await plain.ready() is plain.ready_sync() is plain.count() is plain
    assert (await plain.fetch(KEY)).key == plain.fetch_sync(KEY).key == KEY
    assert (await plain.fetch("other")).reason == "not_requested"
    assert (plain.script(), plain.web_sdk(), plain.badge()) == ("", "", "")
    assert plain.track_impression(KEY) is plain.track_click(KEY, "Shop") is None
    assert plain.sources == {a_hero().source}
    assert plain.identity == Identity()
    plain.show(KEY)
    assert [one.key for one in plain.shown] == [KEY]
    assert plain.count(False).shown == ()
    plain.add([dataclasses.replace(a_hero(), key="strip")])
    assert {*plain} == {KEY, "strip"}


def test_a_value_hangs_on_nothing_of_a_module() -> None:
    Identity().user_identifiers["u_em"] = "x"  # type: ignore[index]
    Experience(key="a").payload["x"] = 1  # type: ignore[index]

    assert Identity().user_identifiers == {} == Experience(key="a").payload


async def test_what_a_page_does_to_its_identity_is_its_own(sandbox: Sandbox) -> None:
    identifiers_seen: list[dict[str, Any]] = []

    async def handler(request: Request) -> Response:
        found = request.state.experiences
        identifiers = found.identity.user_identifiers
        identifiers_seen.append(dict(identifiers))
        identifiers["u_em"] = "someone-else@b.example"
        await found.fetch("promo-strip")
        return JSONResponse(dict(found.identity.user_identifiers))

    for identity in (
        {"anonymous": "off"},
        {"user_identifiers": {"u_mb": {"value": "1"}}},
    ):
        site = Site(handler, identity=identity)
        for _ in range(2):
            await site.get()
        assert "someone-else" not in str(sandbox.requests.latest())
    assert identifiers_seen == [{}, {}, {"u_mb": "1"}, {"u_mb": "1"}]


# --- pages of one visitor at the same time -----------------------------------------


def previewed(title: str) -> str:
    """Return the cookie of a browser that has a preview open."""
    links = PreviewLinks([SECRET], path="/_moe/p/", clock=lambda: 0)
    link = links.make(Preview(KEY, "B", {"Title": title}, "/", 9**10))
    return f"{COOKIE}={link.rpartition('/')[2]}"


def spoiled(request: Request) -> dict[str, Any]:
    """Change all that a handler gets, and return what it had got before."""
    found, name = request.state.experiences, request.url.path[1:]
    hero = found.show(KEY)
    before = copy.deepcopy(hero.payload)
    hero.payload["Title"] = hero.payload["of"] = name
    hero.experience_context["page"] = name
    link, mark = hero.click_url(f"/{name}", name), hero.attrs(name)
    return {"link": link, "mark": mark, "payload": before}


@pytest.mark.parametrize("ttl", [60, 0], ids=["fresh", "stale"])
async def test_tasks_and_threads_of_one_visitor_share_nothing_that_changes(
    sandbox: Sandbox, ttl: int
) -> None:
    async def in_a_task(request: Request) -> Response:
        await asyncio.sleep(0.001)
        return JSONResponse(spoiled(request))

    def in_a_thread(request: Request) -> Response:
        return JSONResponse(spoiled(request))

    async def fetching(request: Request) -> Response:
        await request.state.experiences.fetch(KEY)
        return JSONResponse(spoiled(request))

    handlers = {"task": in_a_task, "thread": in_a_thread, "fetch": fetching}
    app = Starlette(routes=[Route(f"/{kind}{{n}}", h) for kind, h in handlers.items()])
    routes = [
        {"path": "/task{n}", "experiences": [KEY]},
        {"path": "/thread{n}", "experiences": [KEY], "prefetch": "concurrent"},
    ]
    site = Site(
        app=app, routes=routes, secret_key=SECRET, cache={"ttl": ttl, "stale": 600}
    )
    # The first round shares one fetch, the second has the cache's answers.
    sandbox.fault(path="fetch", latency=0.05)
    names = [f"{kind}{n}" for n in range(8) for kind in handlers if kind != "thread"]
    cookies = {"cookie": f"customer_id=alice; {previewed('Sale')}"}
    pages: list[httpx.Response] = []
    previews: list[httpx.Response] = []
    for _ in range(2):
        both = await asyncio.gather(
            *(site.get(f"/{name}", customer="alice") for name in names),
            *(site.get(f"/{name}", headers=cookies) for name in names),
        )
        pages += both[: len(names)]
        previews += both[len(names) :]
    for name in [f"thread{n}" for n in range(8)]:
        pages.append(await site.get(f"/{name}", customer="alice"))
    answers = [page.json() for page in pages]
    for answer in answers:
        assert answer["payload"] == answers[0]["payload"]
        followed = await site.get(answer["link"], customer="alice")
        assert followed.status_code == 302
        assert 'data-moe-on="click"' in answer["mark"]
    # A preview of the same visitor is shown as it is, and counts nothing.
    for preview in previews:
        assert preview.json()["payload"] == {"Title": "Sale"}
        assert not preview.json()["mark"]
    # Every page's link leads to that page's target, and counts by itself.
    assert len({answer["link"] for answer in answers}) == len(answers)
    await site.delivered()
    assert sandbox.impressions(KEY) == len(answers)
    assert sandbox.clicks(KEY) == len(answers)


@pytest.mark.parametrize(
    ("reason", "why"), [(Reason.NO_MATCH, " (no_match)"), (None, "")]
)
def test_a_missing_value_in_code_says_what_to_write(
    reason: Reason | None, why: str
) -> None:
    experience = Experience(key="hero", reason=reason)

    with pytest.raises(AttributeError) as caught:
        _ = experience.Title

    assert str(caught.value) == (
        f"experience 'hero'{why} has no payload value 'Title': take "
        ".get('Title', a default), or test the experience before"
    )
