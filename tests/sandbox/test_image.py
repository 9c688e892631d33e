"""docker/sandbox/: the image's commands run, with this machine's paths and port."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import yaml

from moe_middleware import Event, Identity, SyncMoEngageClient

from ..documents import Document
from ..servers import Process, browser, free_port, running, wait_for

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "docker" / "sandbox"
COMPOSE = yaml.safe_load((FOLDER / "compose.yml").read_text())
[SERVICE] = COMPOSE["services"].values()
_LINES = re.sub(
    r"^#.*\n|\\\n\s*", "", (FOLDER / "Dockerfile").read_text(), flags=re.M
).splitlines()
STEPS = [(name, words) for name, _, words in (x.partition(" ") for x in _LINES) if name]
IMAGE = dict(STEPS[STEPS.index(("FROM", "python:3.11-slim")) :])
"""The last stage's instructions; of several with the same name, the last."""


def here(words: str, folder: Path, port: int) -> list[str]:
    """Return a command of the image as arguments of this Python."""
    command = [
        word.replace("/data", str(folder)).replace("8787", str(port))
        for word in json.loads(words)
    ]
    python, ours = "/opt/moe/bin/python", "/opt/moe/bin/moe-middleware"
    assert command[0] in (python, ours)
    return (
        command[1:] if command[0] == python else ["-m", "moe_middleware", *command[1:]]
    )


def container(
    folder: Path, port: int, *options: str, token: str = ""
) -> AbstractContextManager[Process]:
    """Run the image, by default with the options of its own."""
    command = here(IMAGE["ENTRYPOINT"], folder, port)
    own = [word.replace("/data", str(folder)) for word in json.loads(IMAGE["CMD"])]
    environ = {"MOE_SANDBOX_TOKEN": token}
    arguments = (*command, *(options or own))
    return running(*arguments, port=port, log=folder / "log", environ=environ)


def is_healthy(folder: Path, port: int) -> bool:
    check = here(IMAGE["HEALTHCHECK"].partition("CMD ")[2], folder, port)
    return not subprocess.run([sys.executable, *check], capture_output=True).returncode


def test_it_serves_and_keeps_its_counts(tmp_path: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    assert not is_healthy(tmp_path, port)
    with container(tmp_path, port) as server:
        wait_for(lambda: is_healthy(tmp_path, port), what="the health check")
        wait_for(lambda: "?token=" in server.log(), what="the link to the pages")
        [token] = {*re.findall(r"\?token=(\S+)", server.log())}
        bearer = {"Authorization": f"Bearer {token}"}
        assert browser.get(server.url).status_code == 401
        assert browser.get(server.url, headers=bearer).status_code == 200
        with SyncMoEngageClient(
            data_center="sandbox", base_url=f"{address}/v1"
        ) as client:
            alice = Identity(customer_id="alice")
            hero = client.fetch(["homepage-banner"], identity=alice)["homepage-banner"]
            client.report([Event.impression(hero, "alice")])

    with container(tmp_path, port, token="a-token-of-the-team"):
        headers = {"Authorization": "Bearer a-token-of-the-team"}
        counted = browser.get(f"{address}/_sandbox/events", headers=headers).json()

    assert counted["count"] == 1
    assert not is_healthy(tmp_path, port)


def test_the_page_about_it_does_what_it_shows(tmp_path: Path) -> None:
    page = Document("docs/how-to/sandbox-image.md")
    text = "".join(block.text for block in page.blocks if block.kind == "console")
    build, *runs = re.findall(r"^\$ (docker .*)$", text, re.M)
    plain, sample, own = (run.partition(" moe-sandbox")[2].split() for run in runs)
    calls = re.findall(
        r'^\$ curl .*Bearer (\S+)" http://[^/]+(/\S+)\n(.*)$', text, re.M
    )
    port = free_port()
    file = str(tmp_path / "workspace.yml")

    assert f"#   {build}\n" in (FOLDER / "Dockerfile").read_text()
    assert (plain, sample[1:]) == ([], own[1:])
    command = [*here(IMAGE["ENTRYPOINT"], tmp_path, port), sample[0], file]
    subprocess.run([sys.executable, *command], check=True)
    assert len(calls) == 2
    with container(tmp_path, port, own[0], file, token=calls[0][0]) as server:
        for token, path, shown in calls:
            method = "POST" if path.endswith("reset") else "GET"
            headers = {"Authorization": f"Bearer {token}"}
            answer = browser.request(method, server.url + path, headers=headers)
            assert answer.text == shown


def test_compose_runs_this_image() -> None:
    context = (FOLDER / SERVICE["build"]["context"]).resolve()
    [(volume, path)] = [one.split(":") for one in SERVICE["volumes"]]
    port = IMAGE["EXPOSE"]

    assert context / SERVICE["build"]["dockerfile"] == FOLDER / "Dockerfile"
    assert volume in COMPOSE["volumes"]
    assert path == IMAGE["VOLUME"] == IMAGE["WORKDIR"]
    assert SERVICE["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_its_user_has_no_rights() -> None:
    # A number, so that Kubernetes knows that it is not root.
    assert IMAGE["USER"].isdecimal()
    assert f"useradd --system --uid {IMAGE['USER']} moe" in IMAGE["RUN"]
    assert f"install -d -o moe -g moe {IMAGE['VOLUME']}" in IMAGE["RUN"]


def test_the_build_gets_what_it_copies_and_nothing_else() -> None:
    sent = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    copied = [words for name, words in STEPS if name == "COPY" if "--from" not in words]
    [*sources, _] = " ".join(copied).split()

    assert sent == ["*", *(f"!{source}" for source in sources)]
