from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moe_middleware import Visit
from moe_middleware.sandbox import Sandbox
from moe_middleware.visitors.bots import MAX_USER_AGENT, bot_judge, load_crawlers
from moe_middleware.visitors.visitors import Visitors

from ..sites import Site, settings

COMPATIBLE = "Mozilla/5.0 (compatible; "
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8)"
NEXUS = "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P)"
LINUX = "Mozilla/5.0 (X11; Linux x86_64)"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko)"
)

BOTS = [
    # Search engines.
    f"{COMPATIBLE}Googlebot/2.1; +http://www.google.com/bot.html)",
    f"{NEXUS} {CHROME} Mobile Safari/537.36 (compatible; Googlebot/2.1; "
    "+http://www.google.com/bot.html)",
    "Googlebot-Image/1.0",
    "AdsBot-Google (+http://www.google.com/adsbot.html)",
    "Mediapartners-Google",
    f"{COMPATIBLE}Google-InspectionTool/1.0;)",
    "GoogleOther",
    "FeedFetcher-Google; (+http://www.google.com/feedfetcher.html)",
    f"{LINUX} {CHROME} Safari/537.36 (compatible; bingbot/2.0; "
    "+http://www.bing.com/bingbot.htm)",
    f"{WINDOWS} {CHROME} Safari/537.36 MicrosoftPreview/2.0",
    f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Safari/605.1.15 "
    "(Applebot/0.1; +http://www.apple.com/go/applebot)",
    f"{COMPATIBLE}Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    f"{COMPATIBLE}YandexBot/3.0; +http://yandex.com/bots)",
    f"{COMPATIBLE}YandexRenderResourcesBot/1.0)",
    f"{COMPATIBLE}YandexMetrika/2.0)",
    f"{COMPATIBLE}Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Sogou web spider/4.0(+http://www.sogou.com/docs/help/webmasters.htm#07)",
    f"{COMPATIBLE}Yeti/1.1; https://naver.me/spd)",
    "DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)",
    f"{COMPATIBLE}PetalBot;+https://webmaster.petalsearch.com/site/petalbot)",
    f"{COMPATIBLE}coccocbot-web/1.0)",
    "ia_archiver",
    f"{COMPATIBLE}pingbot/2.0)",
    f"{COMPATIBLE}proximic)",
    f"{COMPATIBLE}Cincraw/1.0)",
    # Link previews.
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "facebookexternalhit/1.1;line-poker/1.0",
    "Twitterbot/1.0",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient)",
    "WhatsApp/2.24.15.78 A",
    "TelegramBot (like TwitterBot)",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    f"{COMPATIBLE}Discordbot/2.0; +https://discordapp.com)",
    f"{WINDOWS} SkypeUriPreview Preview/0.5",
    "Pinterest/0.2 (+https://www.pinterest.com/bot.html)",
    f"{MAC} {CHROME} Safari/537.36 Snapchat-Proxy",
    f"{COMPATIBLE}SnapchatAds/1.0)",
    "SnapchatBot/1.0",
    "Snap URL Preview Service; bot; snapchat",
    f"{COMPATIBLE}vkShare; +http://vk.com/dev/Share)",
    f"{WINDOWS} Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    # SEO and audits.
    f"{COMPATIBLE}AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    f"{COMPATIBLE}SemrushBot/7~bl; +http://www.semrush.com/bot.html)",
    f"{COMPATIBLE}MJ12bot/v1.4.8; http://mj12bot.com/)",
    f"{COMPATIBLE}DotBot/1.2; help@moz.com)",
    "Screaming Frog SEO Spider/20.2",
    f"{MAC} {CHROME} Safari/537.36 Chrome-Lighthouse",
    # AI.
    f"{MAC} {CHROME} Safari/537.36; compatible; GPTBot/1.2; +https://openai.com/gptbot",
    f"{CHROME} Safari/537.36; compatible; ChatGPT-User/1.0",
    f"{COMPATIBLE}OAI-SearchBot/1.0)",
    f"{COMPATIBLE}ClaudeBot/1.0; +claudebot@anthropic.com)",
    f"{COMPATIBLE}Claude-User/1.0)",
    f"{COMPATIBLE}PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)",
    f"{COMPATIBLE}Perplexity-User/1.0)",
    "CCBot/2.0 (https://commoncrawl.org/faq/)",
    f"{COMPATIBLE}Bytespider; spider-feedback@bytedance.com)",
    "meta-externalagent/1.1",
    # Probes and monitors.
    "kube-probe/1.30",
    "ELB-HealthChecker/2.0",
    "GoogleHC/1.0",
    "GoogleStackdriverMonitoring-UptimeChecks(https://cloud.google.com/monitoring)",
    "Amazon-Route53-Health-Check-Service (ref 1234; report http://amzn.to/1vsZADi)",
    "Datadog/Synthetics",
    "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
    f"{COMPATIBLE}UptimeRobot/2.0; http://www.uptimerobot.com/)",
    f"{LINUX} {CHROME} Safari/537.36 StatusCake",
    "Better Uptime Bot Mozilla/5.0",
    "Consul Health Check",
    "Envoy/HC",
    "Blackbox Exporter/0.25.0",
    "check_http/v2.3.3 (nagios-plugins 2.3.3)",
    "Cloudflare-Healthchecks/1.0",
    # Feeds, scanners, browsers without a screen.
    "Feedbin feed-id:1234 - 7 subscribers",
    f"{COMPATIBLE}CensysInspect/1.1; +https://about.censys.io/)",
    f"{COMPATIBLE}Nmap Scripting Engine; https://nmap.org/book/nse.html)",
    f"{LINUX} AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/128.0.0.0 "
    "Safari/537.36",
    f"{LINUX} AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1",
    "Scrapy/2.11.2",
]

PEOPLE = [
    # Desktop.
    f"{WINDOWS} {CHROME} Safari/537.36",
    f"{MAC} {CHROME} Safari/537.36",
    f"{LINUX} {CHROME} Safari/537.36",
    "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) " + CHROME + " Safari/537.36",
    f"{WINDOWS} {CHROME} Safari/537.36 Edg/128.0.2739.42",
    f"{WINDOWS} {CHROME} Safari/537.36 OPR/113.0.0.0",
    f"{WINDOWS} {CHROME} YaBrowser/24.7.0.0 Yowser/2.5 Safari/537.36",
    f"{WINDOWS[:-1]}; rv:129.0) Gecko/20100101 Firefox/129.0",
    f"{LINUX[:-1]}; rv:128.0) Gecko/20100101 Firefox/128.0",
    f"{MAC} AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko",
    # Phones and tablets.
    f"{IPHONE} Version/17.6 Mobile/15E148 Safari/604.1",
    f"{IPHONE} CriOS/128.0.6613.92 Mobile/15E148 Safari/604.1",
    f"{IPHONE} FxiOS/129.0 Mobile/15E148 Safari/605.1.15",
    f"{IPHONE} EdgiOS/127.0.2651.111 Version/17.0 Mobile/15E148 Safari/604.1",
    f"{IPHONE} GSA/328.1.661944363 Mobile/15E148 Safari/604.1",
    f"{IPHONE} Version/17.6 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15",
    f"{PIXEL} {CHROME} Mobile Safari/537.36",
    f"{PIXEL[:-8]}SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) "
    "SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Android 14; Mobile; rv:129.0) Gecko/129.0 Firefox/129.0",
    f"Mozilla/5.0 (Linux; Android 13; CUBOT NOTE 21) {CHROME} Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 9; CUBOT_X19) {CHROME} Mobile Safari/537.36",
    f"Mozilla/5.0 (Linux; Android 11; Cubot) {CHROME} Mobile Safari/537.36",
    # Browsers inside apps.
    f"{IPHONE} Mobile/15E148 [FBAN/FBIOS;FBAV/477.0.0.30.109;FBDV/iPhone15,2]",
    f"{IPHONE} Mobile/15E148 Instagram 345.0.6.26.103 (iPhone15,2; iOS 17_6)",
    f"{IPHONE} Mobile/15E148 [Pinterest/iOS]",
    f"{IPHONE} Mobile/15E148 Safari Line/14.12.0",
    f"{IPHONE} Mobile/15E148 LinkedInApp/9.29.5532",
    f"{IPHONE} Mobile/15E148 Snapchat/13.1.0.46 (like Safari/8618.3.11.10.5)",
    f"{PIXEL[:-1]}; wv) AppleWebKit/537.36 Version/4.0 Chrome/127.0.6533.103 "
    "Mobile Safari/537.36 musical_ly_2023505030 BytedanceWebview/d8a21c6",
    f"{PIXEL[:-1]}; wv) Version/4.0 Chrome/127.0 Mobile Safari/537.36 "
    "NAVER(inapp; search; 1020; 12.5.0)",
    f"{PIXEL[:-1]}; wv) Version/4.0 Chrome/127.0 Mobile Safari/537.36;KAKAOTALK 2410",
    f"{PIXEL} {CHROME} Mobile Safari/537.36 MicroMessenger/8.0.50",
    "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/AP2A.240805.005)",
]

TOOLS = [
    "curl/8.9.1",
    "Wget/1.24.5",
    "python-httpx/0.28.1",
    "python-requests/2.32.3",
    "aiohttp/3.10.5",
    "PostmanRuntime/7.41.2",
    "insomnia/9.3.3",
    "HTTPie/3.2.3",
    "testclient",
    "Go-http-client/2.0",
    "",
    "-",
]


def test_bots_are_known_by_their_user_agents_and_people_and_tools_are_not() -> None:
    judge = bot_judge()
    bots = [one.encode() for one in [*BOTS, *map(str.upper, BOTS)]]

    assert [one for one in bots if not judge(one)] == []
    assert [one for one in [*PEOPLE, *TOOLS] if judge(one.encode())] == []


def test_also_adds_to_the_bots() -> None:
    judge = bot_judge(also=["curl/", "My.Probe"])

    assert judge(b"curl/8.9.1")
    assert judge(b"acme my.probe 2")
    assert not judge(b"acme my-probe 2")
    assert judge(b"Googlebot/2.1")


def test_never_spares_a_user_agent_whatever_else_it_says() -> None:
    judge = bot_judge(also=["acme"], never=["HeadlessChrome", "acme-kiosk"])

    assert not judge(b"Mozilla/5.0 HeadlessChrome/128.0.0.0")
    assert not judge(b"ACME-Kiosk/1.0")
    assert judge(b"acme-probe/1.0")


@pytest.mark.parametrize("where", ["also", "never"])
def test_an_empty_text_is_refused(where: str) -> None:
    given: Any = {where: ["curl", ""]}

    with pytest.raises(ValueError, match="would be in every User-Agent"):
        bot_judge(**given)


def test_only_the_beginning_of_an_endless_user_agent_is_read() -> None:
    visitors = Visitors(settings(), clock=lambda: 0.0)

    def is_bot(user_agent: str) -> bool:
        visit = Visit(headers=[(b"user-agent", user_agent.encode())])
        recognised = visitors.recognise(visit, None, 0.0)
        assert visitors.is_bot(visit) is (recognised is None)
        return recognised is None

    assert is_bot("x" * (MAX_USER_AGENT - 20) + " Googlebot/2.1")
    assert not is_bot("x" * MAX_USER_AGENT + " Googlebot/2.1")
    assert not visitors.is_bot(Visit())


def test_a_judge_is_freed_with_its_answers() -> None:
    judge = bot_judge()
    judge(b"Googlebot/2.1")
    gone = weakref.ref(judge)
    gc.disable()
    try:
        del judge
        assert gone() is None
    finally:
        gc.enable()


@given(st.binary())
def test_no_user_agent_raises(user_agent: bytes) -> None:
    also = user_agent.decode("latin-1") or "x"

    assert bot_judge(also=[also])(user_agent) is bool(user_agent)


# --- the package of crawlers ---------------------------------------------------------

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
    assert sandbox.impressions("homepage-banner") == int(title)


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
