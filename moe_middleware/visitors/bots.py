"""Bots, by their User-Agent: they get no experience and count no impression.

A new one is a line of ``_SIGNS`` below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial

from ..models.errors import Problem, SettingsError

MAX_USER_AGENT = 512
"""Bytes of a User-Agent that are judged; browsers' are shorter."""


def bot_judge(
    also: Sequence[str] = (),
    never: Sequence[str] = (),
    library: Callable[[str], bool] | None = None,
) -> Callable[[bytes], bool]:
    """Return a function that tells by a User-Agent header whether it is a bot's.

    Bots are search engines, link previews, SEO tools, AI fetchers, feed readers, uptime
    probes, health checks, scanners, headless browsers, and any User-Agent containing
    bot, crawler or spider. The names that MoEngage's Web SDK refuses are among them.

    A missing User-Agent, curl, wrk, python-httpx and the like are no bots: they are the
    developer's own tools, and a page tried with one of them should count. ``also`` can
    add them. A library does not make bots of them, either.

    Args:
        also: Texts that make a User-Agent a bot's, at any place and in any case.
        never: Texts that make it no bot's, whatever else it contains.
        library: Recognises further bots by their User-Agent.

    Raises:
        ValueError: One of the texts is empty, which would match every User-Agent.
    """
    bots = re.compile("|".join([*_SIGNS, *_literals(also)]))
    spared = re.compile("|".join(_literals(never)) or r"(?!)")
    # Searching takes many times as long as all else that identifies a visitor.
    return lru_cache(maxsize=4096)(partial(_is_bot, bots, spared, library))


def _is_bot(
    bots: re.Pattern[str],
    spared: re.Pattern[str],
    library: Callable[[str], bool] | None,
    header: bytes,
) -> bool:
    user_agent = header.decode("latin-1")
    text = user_agent.lower()
    if spared.search(text) is not None:
        return False
    if bots.search(text) is not None:
        return True
    return library is not None and not _TOOLS.match(text) and library(user_agent)


def _literals(texts: Iterable[str]) -> list[str]:
    literals = [re.escape(text.lower()) for text in texts]
    if "" in literals:
        raise ValueError("'' would be in every User-Agent: leave it out")
    return literals


# All patterns are in lower case. The User-Agents of developers' tools and of HTTP
# libraries begin with their own name; that of a crawler built with one does not.
_TOOLS = re.compile(
    r"-?$|"
    r"(?:lib)?curl/|wget/|wrk|hey/|apachebench/|siege/|vegeta|k6/|locust|bombardier|"
    r"oha/|httpie/|xh/|postmanruntime/|insomnia/|bruno|"
    r"python/\d|python-(?:httpx|requests|urllib)|aiohttp/|testclient|"
    r"go-http-client/|okhttp/|apache-httpclient/|java/|java-http-client/|axios/|"
    r"node-fetch|undici|node$|bun/|deno/|reqwest/|ruby$|faraday |guzzlehttp/|"
    r"libwww-perl/|dart/"
)

# The later groups omit names that the first group finds.
_SIGNS = (
    # Generic words. Cubot is a brand of phones.
    r"(?<!cu)bots?(?![a-z])",
    r"crawl|spider(?![a-z])|scrap(?:er|ing|y)|fetcher|headless",
    r"\+https?://",
    r"health[-_ ]?check|uptime|link[ -]?(?:check|preview)|url ?preview",
    # Search engines and archives.
    r"google-|googleother|googleproducer|mediapartners|bingpreview|microsoftpreview",
    r"slurp|yandex(?:render|image|video|media|favicon|metrika|webmaster|direct)",
    r"yeti/|daumoa|qwantify|ia_archiver|heritrix|wayback|proximic|cincraw|nutch",
    # Link previews of messengers, mail and social networks. In-app browsers name
    # their app too, but never in the first place.
    r"^whatsapp/|^viber|^tumblr/|skypeuripreview|slack-imgproxy|facebookexternalhit",
    r"facebookcatalog|meta-external|snapchat-?(?:proxy|ads)|snap url|pinterest/0",
    r"vkshare|line-poker|kakaotalk-scrap|embedly|iframely|bluesky cardyb",
    r"flipboardproxy|googleimageproxy|yahoomailproxy|ms-office|^microsoft office/",
    # SEO and site audits.
    r"ahrefs|semrush|sitebulb|sistrix|seokicks|seobility|siteimprove|netcraft",
    r"chrome-lighthouse|pagespeed|gtmetrix|webpagetest|ptst/|w3c_validator",
    # AI: collecting, or fetching on a person's behalf.
    r"chatgpt-user|claude-(?:user|web)|anthropic-ai|perplexity-user",
    r"cohere-|mistralai-|firecrawl|gemini-deep|omgili|img2dataset",
    # Probes and monitors.
    r"kube-probe|googlehc|envoy/hc|datadog|pingdom|statuscake|site24x7|better ?stack",
    r"newrelic|hetrixtools|freshping|updown|catchpoint|synthetic|checkly|nodeping",
    r"zabbix|nagios|check_http|prometheus/|blackbox[ -]exporter|appinsights",
    r"alwayson|traffic[ -]manager|consul health|haproxy|ohdear|montastic",
    # Feed readers.
    r"\d subscribers?|feedburner|feedvalidator|freshrss|tiny tiny rss|simplepie",
    # Scanners.
    r"censys|zgrab|nessus|nuclei|nmap|masscan|l9explore|nikto|sqlmap|wpscan",
    r"internetmeasurement|detectify|qualys|acunetix",
    # Headless browsers.
    r"phantomjs|slimerjs|htmlunit|prerender|rendertron|puppeteer|playwright|selenium",
)


def load_crawlers() -> Callable[[str], bool]:
    """Return what the package crawler-user-agents recognises bots by.

    It reads and compiles about 1,500 patterns, which takes hundredths of a second: do
    it at the start.

    Raises:
        SettingsError: The package is missing.
    """
    try:
        from crawleruseragents import (  # type: ignore[import-untyped]
            is_crawler,
        )
    except ImportError as error:
        message = (
            "'on' needs the package crawler-user-agents: "
            "pip install 'moe_middleware[bots]'"
        )
        raise SettingsError([Problem(where="bots.library", message=message)]) from error
    known: Callable[[str], bool] = is_crawler
    known("")
    return known
