"""The overlay under real servers, which send its pages whole."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from ..servers import browser, free_port, running

KEY = "homepage-banner"


def shown(page: str) -> Any:
    [found] = re.findall(r'<moe-overlay data-page="([^"]*)"></moe-overlay>', page)
    return json.loads(unescape(found))


CONFIG = f"""
workspace: {{data_center: sandbox}}
identity: {{customer_id: {{cookie: customer_id}}}}
routes: [{{path: "/{{rest:path}}", experiences: [{KEY}]}}]
fetch: {{timeout: 20}}
events: {{outbox: "memory:"}}
development: {{overlay: on}}
"""
ASGI = "tests.end_to_end.site:app"
SERVERS = {
    "gunicorn": "gunicorn --bind 127.0.0.1:PORT --no-control-socket "
    "tests.frameworks.wsgi_site:app",
    "uvicorn": f"uvicorn {ASGI} --port PORT",
    "hypercorn": f"hypercorn {ASGI} --bind 127.0.0.1:PORT",
    "granian": f"granian --interface asgi --port PORT {ASGI}",
}


@pytest.mark.parametrize("server", SERVERS)
def test_real_servers_send_it_whole(tmp_path: Path, server: str) -> None:
    (tmp_path / "moe.yml").write_text(CONFIG)
    port = free_port()
    command = SERVERS[server].replace("PORT", str(port)).split()
    environ = {"MOE_CONFIG": str(tmp_path / "moe.yml")}
    with running(
        "-m", *command, port=port, log=tmp_path / "log", environ=environ
    ) as site:
        for _ in range(2):  # on one connection
            headers = {"cookie": "customer_id=alice", "accept-encoding": "gzip"}
            answer = browser.get(site.url, headers=headers)

            assert answer.status_code == 200, site.log()
            page = answer.text
            assert shown(page)["experiences"][0]["audience"] == "Gold members"
            assert page.endswith("defer></script>")
            script = page.rpartition('src="')[2].partition('"')[0]
            assert "customElements" in browser.get(f"{site.url}{script}").text
