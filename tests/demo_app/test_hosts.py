"""The shop's command: on an address that other machines reach, and on a taken port."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from demo_app.__main__ import main

from ..servers import browser, free_port, running


def test_the_sandboxs_pages_ask_other_machines_for_the_token(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    environ = {"MOE_DEMO_OUTBOX": f"sqlite:///{tmp_path}/outbox.db"}
    command = ("-m", "demo_app", "--host", "0.0.0.0", "--port", str(port))

    with running(*command, port=port, log=log, environ=environ) as shop:
        assert browser.get(f"{shop.url}/").status_code == 200
        assert browser.get(f"{shop.url}/sandbox/").status_code == 401
        found = re.search(r"/sandbox/\?token=(\S+)", shop.log())
        assert found is not None
        headers = {"Authorization": f"Bearer {found[1]}"}
        shown = browser.get(f"{shop.url}/sandbox/", headers=headers)
        assert shown.status_code == 200
        link = f"{shop.url}/sandbox/?token={found[1]}"
        assert browser.get(link, follow_redirects=True).status_code == 200


def test_taken_port_is_one_plain_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr("sys.argv", ["demo_app", "--port", str(port)])
        with pytest.raises(SystemExit) as ended:
            main()

    assert ended.value.code == (
        f"Cannot listen on 127.0.0.1 port {port} (Address already in use). "
        f"Choose another: --port {port + 1}"
    )
