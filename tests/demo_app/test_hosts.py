"""The shop on an address that other machines reach."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..servers import browser, free_port, running


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_sandboxs_pages_ask_other_machines_for_the_token(
    tmp_path: Path, host: str
) -> None:
    port, log = free_port(), tmp_path / "log"
    environ = {"MOE_DEMO_OUTBOX": f"sqlite:///{tmp_path}/outbox.db"}
    command = ("-m", "demo_app", "--host", host, "--port", str(port))

    with running(*command, port=port, log=log, environ=environ) as shop:
        assert browser.get(f"{shop.url}/").status_code == 200
        without = browser.get(f"{shop.url}/sandbox/").status_code
        found = re.search(r"/sandbox/\?token=(\S+)", shop.log())

        if host == "127.0.0.1":
            assert (without, found) == (200, None)
            return
        assert without == 401
        assert found is not None
        headers = {"Authorization": f"Bearer {found[1]}"}
        shown = browser.get(f"{shop.url}/sandbox/", headers=headers)
        assert shown.status_code == 200
        link = f"{shop.url}/sandbox/?token={found[1]}"
        assert browser.get(link, follow_redirects=True).status_code == 200
