"""A grown Flask shop in a real server: everyone is known, and nothing runs twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import httpx
import pytest

from ..servers import counted, fetches, free_port, sandbox_server, site_server

pytest.importorskip("flask_login")
pytest.importorskip("flask_babel")

CONFIG = """
workspace: {id: sandbox, api_key: sandbox-key}
identity: {customer_id: {user: id}}
attributes: {language: {call: "tests.frameworks.flask_site:language"}}
routes: [{path: /, experiences: [homepage-banner]}]
fetch: {timeout: 20}
events: {outbox: "memory:", shutdown_timeout: 20}
"""


MONTHS = {"alice": "October", "dave": "Oktober"}


@pytest.mark.timeout(200)
def test_users_languages_and_teardown(tmp_path: Path) -> None:
    (tmp_path / "moe.yml").write_text(CONFIG)
    with sandbox_server(free_port(), tmp_path) as sandbox:
        with site_server(
            *(tmp_path, sandbox.url),
            *("-m", "gunicorn", "--worker-class", "gthread", "--threads", "4"),
            *("--bind", "127.0.0.1:{port}", "--no-control-socket"),
            "tests.frameworks.flask_site:app",
        ) as site:
            pages = {}
            for name in ("alice", "dave"):
                with httpx.Client(
                    base_url=site.url,
                    headers={
                        "X-Forwarded-Proto": "https",
                        "Accept-Language": "en",
                    },
                    timeout=40,
                    trust_env=False,
                    follow_redirects=True,
                ) as browser:
                    entered = browser.post(f"/enter/{name}")
                    again = browser.get("/")
                    pages[name] = (entered.text, again.text)
            log = site.log()
        languages = [body["language"] for body in fetches(sandbox)]
        events = counted(sandbox)

    assert "Traceback" not in log, log
    for name, (first, second) in pages.items():
        # Loaded once a request, and its language chosen once, in either order.
        assert first.startswith(f"{name}:1:1:{MONTHS[name]}:<h1>"), log
        assert first == second
        assert "Welcome" not in first
    assert (
        pages["alice"][0].partition("<h1>")[2] != pages["dave"][0].partition("<h1>")[2]
    )
    counts = Counter(str(event["customer_id"]) for event in events)
    assert counts == {"alice": 2, "dave": 2}
    # The first page of each is fetched in their language; the second is a cached one.
    assert languages == ["en", "de"]
