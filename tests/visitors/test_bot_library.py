from __future__ import annotations

import subprocess
import sys

import pytest

from moe_middleware.sandbox import Sandbox
from moe_middleware.visitors.bots import bot_judge, load_crawlers

from ..sites import Site
from .test_bots import BOTS, PEOPLE, TOOLS
from .test_consents import KEY

ONLY_THE_LIBRARY_KNOWS = [
    "Mozilla/4.5 (compatible; HTTrack 3.0x; Windows 98)",
    "Mozilla/5.0 (compatible; Lipperhey SEO Service; http://www.lipperhey.com/)",
    "Mozilla/5.0 (compatible; PRTG Network Monitor (www.paessler.com ); Windows)",
    "Bitbucket-Webhooks/2.0",
    "Zapier",
    # Built with a developer's tool, but it says a name of its own first.
    "2Bone_LinkChkr/1.0 libwww-perl/6.03",
]

CALLED_BOTS_BY_THE_LIBRARY = [
    *("curl/8.9.1", "Wget/1.24.5", "python-httpx/0.28.1", "python-requests/2.32.3"),
    *("Python/3.11 aiohttp/3.10.5", "Python-urllib/3.11", "Go-http-client/1.1"),
    *("okhttp/4.12.0", "axios/1.7.2", "HTTPie/3.2.3", "Apache-HttpClient/4.5.2 (Java)"),
]


def test_the_library_adds_bots_to_our_own_list() -> None:
    own, judge = bot_judge(), bot_judge(library=load_crawlers())
    bots = [one.encode() for one in ONLY_THE_LIBRARY_KNOWS]

    assert [one for one in bots if own(one)] == []
    assert [one for one in bots if not judge(one)] == []
    assert [one for one in BOTS if not judge(one.encode())] == []
    assert judge(b"curl/8.9.1 (compatible; AcmeBot/1.0)")


def test_people_and_developers_tools_stay_people() -> None:
    library = load_crawlers()
    judge = bot_judge(library=library)
    tools = [*CALLED_BOTS_BY_THE_LIBRARY, *map(str.upper, CALLED_BOTS_BY_THE_LIBRARY)]
    people = [one.encode() for one in [*PEOPLE, "wrk", *TOOLS, *tools]]

    assert [*filter(judge, people)] == []
    assert all(map(library, CALLED_BOTS_BY_THE_LIBRARY))


def test_also_and_never_still_win() -> None:
    judge = bot_judge(["curl/"], ["zapier"], load_crawlers())

    assert judge(b"curl/8.9.1")
    assert not judge(b"Zapier")
    assert judge(b"Bitbucket-Webhooks/2.0")


def test_an_answer_of_the_library_is_kept() -> None:
    checked: list[str] = []

    def library(user_agent: str) -> bool:
        checked.append(user_agent)
        return True

    judge = bot_judge(library=library)

    assert [judge(b"Acme-Visitor/1.0") for _ in range(3)] == [True] * 3
    assert checked == ["Acme-Visitor/1.0"]


# --- the setting -------------------------------------------------------------


@pytest.mark.parametrize(
    ("bots", "title"), [({}, True), ({"library": "on"}, False)], ids=["off", "on"]
)
async def test_a_bot_of_the_library_gets_the_fallback_where_it_is_on(
    sandbox: Sandbox, bots: dict[str, str], title: bool
) -> None:
    site = Site(bots=bots)

    page = await site.get(customer="alice", headers={"user-agent": "Zapier"})
    await site.delivered()

    assert (page.text != "<h1>Welcome</h1>") is title
    assert sandbox.impressions(KEY) == int(title)


BUILDS = """
import sys
from moe_middleware import Settings, SettingsError
from moe_middleware.visitors.visitors import Visitors
def build(library):
    try:
        settings = Settings(data_center="sandbox", bots={"library": library})
        Visitors(settings, clock=lambda: 0)
    except SettingsError as error:
        return str(error)
    return "loaded" if sys.modules.get("crawleruseragents") else "not loaded"
print("off:", build("off"))
sys.modules["crawleruseragents"] = None
print("off, missing:", build("off"))
print("on, missing:", build("on"))
del sys.modules["crawleruseragents"]
print("on:", build("on"))
"""


def test_the_package_is_loaded_and_missed_only_where_it_is_asked_for() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BUILDS], capture_output=True, text=True, check=True
    )

    assert ran.stdout.splitlines() == [
        "off: not loaded",
        "off, missing: not loaded",
        "on, missing: bots.library: 'on' needs the package crawler-user-agents: "
        "pip install 'moe_middleware[bots]'",
        "on: loaded",
    ]
