"""What log lines call a visitor: nothing by default, a digest on request."""

from __future__ import annotations

import logging
from hashlib import sha256
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import Response

from moe_middleware import Identity, Settings, SettingsError
from moe_middleware.browser.preview_links import COOKIE
from moe_middleware.models.visits import Visit
from moe_middleware.sandbox import Sandbox
from moe_middleware.visitors.log_names import LogNames

from ..browser.test_beacons import marks, tell
from ..browser.test_beacons import site as watched_site
from ..browser.test_previews import a_site
from ..browser.test_previews import token as preview_token
from ..sites import Site, rendered

ALICE = " visitor=sha256:2bd806c97f0e00af"
DEVICE = "5f0b51b2-9a55-4bb5-8d4f-8a1f1d0f0001"
SECRET = "a secret key that is of these tests alone"


def lines(caplog: pytest.LogCaptureFixture, outcome: str) -> list[str]:
    """Return the log's lines of an outcome."""
    messages = [record.getMessage() for record in caplog.records]
    return [line for line in messages if line.split()[0] == outcome]


@pytest.mark.parametrize(
    ("identity", "who"),
    [
        (Identity(customer_id="alice"), ALICE),
        (Identity(customer_id="alice", visitor_id=DEVICE), ALICE),
        (
            Identity(visitor_id=DEVICE),
            f" visitor=sha256:{sha256(DEVICE.encode()).hexdigest()[:16]}",
        ),
        (Identity(customer_id="käthe\udc80"), " visitor=sha256:9cd2148d7e74d079"),
        (Identity(user_identifiers={"u_em": "ada@shop.example"}), ""),
        (Identity(), ""),
        (None, ""),
    ],
)
def test_the_name_is_the_beginning_of_the_ids_digest(
    identity: Identity | None, who: str
) -> None:
    reporting_id = identity.reporting_id if identity is not None else None

    assert LogNames("sha256").of(reporting_id) == who
    assert LogNames("off").of(reporting_id) == ""


@pytest.mark.parametrize(("given", "taken"), [("off", "off"), ("sha256", "sha256")])
def test_the_setting_is_one_word(tmp_path: Path, given: str, taken: str) -> None:
    file = tmp_path / "moe.yml"
    file.write_text(
        f"workspace: {{data_center: sandbox}}\nroutes: []\nlog_ids: {given}\n"
    )

    assert Settings.load(file, environ={}).log_ids == taken
    with pytest.raises(SettingsError, match="log_ids: 'on' is not known"):
        Settings(data_center="sandbox", log_ids=True)


@pytest.mark.parametrize(("how", "who"), [("off", ""), ("sha256", ALICE)])
async def test_a_page_without_an_answer(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, how: str, who: str
) -> None:
    async def handler(request: Request) -> Response:
        if request.url.query:
            site.clock.now = float("nan")
        return await render(request)

    render = rendered()
    caplog.set_level(logging.INFO)
    site = Site(handler, log_ids=how, fetch={"tries": 1})
    await site.get("/?record=fails", customer="alice")
    site.clock.now = 0
    sandbox.fault("fetch", status=500)
    await site.get(customer="alice")

    assert lines(caplog, "record_failed") == [f"record_failed error=ValueError{who}"]
    line = "answered source=fallback reason=server_error keys=1"
    assert lines(caplog, "answered") == [line + who]


async def test_a_click_that_cannot_be_stored(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    template = (
        '{% experience "homepage-banner" impression=false %}'
        '{{ experience.click_url("/shop", "Shop") }}{% endexperience %}'
    )
    site = Site(
        rendered(template),
        log_ids="sha256",
        secret_key=SECRET,
        events={"outbox": f"sqlite:///{tmp_path}/file/outbox.db"},
    )
    link = (await site.get(customer="alice")).text

    reply = await site.get(link, customer="alice")
    await site.delivered()

    assert reply.status_code == 302
    [line] = lines(caplog, "click_not_stored_yet")
    assert line.removesuffix(ALICE).rsplit("=", 1)[1] in ("OutboxError", "TimeoutError")


async def test_a_beacon_that_is_refused_or_cannot_be_stored(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    outbox = f"sqlite:///{tmp_path}/file/outbox.db"
    some = watched_site(log_ids="sha256", events={"outbox": outbox})
    button, _ = marks(await some.get(customer="alice"))

    await tell(some, f"c {button} 1")
    await tell(some, "nonsense")
    await tell(some, "s forged")
    await tell(some, "s x", headers={"sec-fetch-site": "cross-site"})
    await some.delivered()

    assert lines(caplog, "beacon_refused") == [
        f"beacon_refused reason={reason}{ALICE}"
        for reason in ("malformed", "not_ours", "other_site")
    ]
    # A slow disk is logged in another way.
    assert [
        *lines(caplog, "beacon_not_stored"),
        *lines(caplog, "beacon_not_stored_yet"),
    ] in (
        [f"beacon_not_stored error=OutboxError{ALICE}"],
        [f"beacon_not_stored_yet events=1{ALICE}"],
    )


async def test_a_preview_and_a_forged_link(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site = a_site(log_ids="sha256")
    opened = preview_token()

    await site.get(f"/_moe/p/{opened}", customer="alice")
    headers = {"cookie": f"customer_id=alice; {COOKIE}={opened}"}
    await site.get("/_moe/p/leave", headers=headers)
    await site.get("/_moe/p/forged", customer="alice")
    await site.get("/_moe/c/forged", customer="alice")

    key = "homepage-banner"
    found = [
        lines(caplog, one)
        for one in ("preview_opened", "preview_left", "preview_refused")
    ]
    assert found == [
        [f"preview_opened key={key} variation=B{ALICE}"],
        [f"preview_left key={key}{ALICE}"],
        [f"preview_refused reason=not_ours{ALICE}"],
    ]
    assert lines(caplog, "click_refused") == [f"click_refused reason=not_ours{ALICE}"]


@pytest.mark.parametrize(
    "headers",
    [
        {"cookie": "customer_id=alice"},
        {"cookie": "customer_id=alice; consent=yes", "sec-gpc": "1"},
        {"cookie": f"moe_uuid={DEVICE}"},
    ],
)
async def test_visitors_without_consent_have_no_name_either(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    caplog.set_level(logging.DEBUG)
    consent = {"given_by": {"cookie": "consent"}}
    site = Site(log_ids="sha256", secret_key=SECRET, consent=consent)

    await site.get(headers=headers)
    await site.get("/_moe/c/forged", headers=headers)

    assert lines(caplog, "answered")
    assert lines(caplog, "click_refused") == ["click_refused reason=not_ours"]
    assert "sha256" not in caplog.text


class Unreadable(Visit):
    """A request that cannot be read."""

    def cookie(self, name: str) -> str | None:
        raise RuntimeError(name)


async def test_new_visitors_and_those_who_cannot_be_read_have_no_name(
    sandbox: Sandbox,
) -> None:
    visitors = Site(log_ids="sha256").runtime.personalizer.visitors

    assert await visitors.log_name(Visit()) == ""
    assert await visitors.log_name(Unreadable()) == ""
