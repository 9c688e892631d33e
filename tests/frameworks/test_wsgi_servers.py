"""Real WSGI servers: every page served is one impression that arrives."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..servers import (
    PATIENCE,
    browser,
    counted,
    free_port,
    sandbox_server,
    site_server,
    wait_for,
)
from .test_asgi_servers import SECRET, overlay_token

PAGES = 100
VISITORS = 20
SERVER = (
    *("gunicorn", "--worker-class", "gthread", "--threads", "4", "--workers", "3"),
    *("--preload", "--bind", "127.0.0.1:{port}", "--no-control-socket"),
)
CONFIG = f"""
workspace: {{id: sandbox, api_key: sandbox-key}}
identity: {{customer_id: {{cookie: customer_id}}}}
routes: [{{path: /, experiences: [homepage-banner]}}]
fetch: {{timeout: 20}}
events: {{outbox: "sqlite:///OUTBOX", interval: 0.1, shutdown_timeout: 20}}
development: {{overlay: link}}
secret_key: {SECRET}
"""


def test_every_page_served_is_one_impression(tmp_path: Path) -> None:
    (tmp_path / "moe.yml").write_text(
        CONFIG.replace("OUTBOX", str(tmp_path / "outbox.db"))
    )
    visits = Counter(f"customer-{number % VISITORS}" for number in range(PAGES))
    # A worker asks for each visitor once: as few pages as these are no flood.
    with sandbox_server(free_port(), tmp_path) as sandbox:
        with site_server(
            *(tmp_path, sandbox.url, "-m", *SERVER),
            "tests.frameworks.wsgi_site:app",
        ) as site:

            def visit(who: str) -> str:
                headers = {"cookie": f"customer_id={who}; moe_overlay={token}"}
                response = browser.get(site.url, headers=headers, timeout=PATIENCE)
                assert response.status_code == 200, site.log()
                return response.text

            token = overlay_token()
            with ThreadPoolExecutor(4) as visitors:
                pages = [*visitors.map(visit, visits.elements())]
            # SIGTERM, at once: what has not gone yet goes now.
            site.stop()
        wait_for(lambda: len(counted(sandbox)) >= PAGES, what="all impressions")
        events = counted(sandbox)

    assert "Welcome" not in "".join(pages), site.log()
    assert all(page.endswith("defer></script>") for page in pages)
    assert Counter(event["customer_id"] for event in events) == visits
    assert len({event["moe_event_uuid"] for event in events}) == PAGES
