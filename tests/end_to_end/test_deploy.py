"""docs/how-to/deploy/: its site, in the processes that each of its pages starts."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from moe_middleware.settings.overrides import VARIABLES

from ..documents import ROOT, Block, Document
from ..redis_servers import redis_server
from ..servers import (
    browser,
    counted,
    free_port,
    running,
    sandbox_server,
    wait_for,
)

INDEX = "docs/how-to/deploy/index.md"
DOCKER = "docs/how-to/deploy/docker.md"
KUBERNETES = "docs/how-to/deploy/kubernetes.md"
SYSTEMD = "docs/how-to/deploy/systemd.md"
STATE = "/var/lib/moe"
"""Where the pages keep events; a folder of the test stands in for it."""
OURS = {"uvicorn": "uvicorn", "moe-middleware": "moe_middleware"}
KNOWN = {
    *VARIABLES,
    "MOE_CONFIG",
    "MOE_BUDGET",
    "MOE_API_KEY_FILE",
    "MOE_SECRET_KEY_FILE",
}
ALICE = {"cookie": "customer_id=alice", "user-agent": "Mozilla/5.0 Firefox/140.0"}


def block_of(page: str, file: str) -> Block:
    return next(block for block in Document(page).blocks if block.file == file)


def dockerfile() -> list[tuple[str, str]]:
    """Return its instructions, as their name and the rest of their line."""
    [block] = (one for one in Document(DOCKER).blocks if one.kind == "dockerfile")
    return re.findall(r"^([A-Z]+) (.*)$", block.text, re.M)


def of_image() -> list[str]:
    """Return the command that the image starts."""
    [words] = (words for name, words in dockerfile() if name == "CMD")
    command: list[str] = json.loads(words)
    return command


def of_python(words: Sequence[str]) -> list[str]:
    """Return the arguments of Python that run a command of a page."""
    return ["-m", OURS[Path(words[0]).name], *words[1:]]


@dataclass
class Deployment:
    """The site of the overview in a folder, and a sandbox for its processes."""

    folder: Path
    port: int
    environ: dict[str, str]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *of_python(words)],
            env=os.environ | self.environ,
            capture_output=True,
            text=True,
        )

    def serves(
        self,
        web: Sequence[str],
        relay: Sequence[str],
        health_checks: Sequence[Sequence[str]] = ((), ()),
    ) -> None:
        """Start both commands, visit the site, stop both; an impression arrives.

        Health checks are arguments of Python.
        """
        with ExitStack() as stack:
            sandbox = stack.enter_context(sandbox_server(self.port, self.folder))
            site, deliverer = (
                stack.enter_context(self._started(words, name))
                for words, name in [(web, "web"), (relay, "relay")]
            )
            page = browser.get(site.url, headers=ALICE)
            assert "The first flush is yours" in page.text
            assert browser.get(f"{site.url}/live").text == "ok"
            assert browser.get(f"{site.url}/health/moengage").status_code == 200
            assert browser.get(deliverer.url).json()["ok"]
            wait_for(lambda: counted(sandbox), what="the relay's report")
            assert len(counted(sandbox)) == 1
            for process, words in zip((site, deliverer), health_checks, strict=True):
                code = [
                    re.sub(r"(?<=127\.0\.0\.1:)\d+", str(process.port), word)
                    for word in words
                ]
                assert subprocess.run([sys.executable, *code], input="").returncode == 0
            for process in (site, deliverer):
                process.stop()
                # uvicorn ends by the signal that it was sent.
                assert process.process.returncode in (0, -15)

    def _started(self, words: Sequence[str], name: str) -> Any:
        port = free_port()
        given = [*words]
        option = "--probe-port" if "relay" in words else "--port"
        given[given.index(option) + 1] = str(port)
        given = ["127.0.0.1" if word == "0.0.0.0" else word for word in given]
        return running(
            *of_python(given),
            port=port,
            log=self.folder / f"{name}.log",
            environ=self.environ,
        )


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    state = tmp_path / "state"
    state.mkdir()
    for block in Document(INDEX).blocks:
        if block.file is not None:
            path = tmp_path / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text.replace(STATE, str(state)))
    monkeypatch.chdir(tmp_path)
    port = free_port()
    environ = {
        "MOE_WORKSPACE_ID": "sandbox",
        "MOE_API_KEY": "sandbox-key",
        "MOE_SECRET_KEY": "4Qz1c0c7kqv0m0-for-this-test-only",
        "MOE_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
    }
    return Deployment(tmp_path, port, environ)


def test_docker_and_compose(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The image and its health checks, with the Redis that several hosts need."""
    services = yaml.safe_load(block_of(DOCKER, "compose.yml").text)["services"]
    copied = {words.split()[0] for name, words in dockerfile() if name == "COPY"}
    builds = [words for name, words in dockerfile() if name == "RUN"]

    [check] = [words for words in builds if words.startswith("moe-middleware")]
    assert deployment.command(*shlex.split(check)).returncode == 0
    assert copied == {"requirements.txt", "."}
    assert any(f"install -d -o app -g app -m 700 {STATE}" in one for one in builds)
    checks = [services[name]["healthcheck"]["test"] for name in ("web", "relay")]
    assert [one[:2] for one in checks] == [["CMD", "python"]] * 2
    with redis_server(tmp_path_factory.mktemp("redis"), aof=True) as redis:
        address = f"127.0.0.1:{redis.port}"
        for name, value in of_kubernetes()["moengage"]["stringData"].items():
            if name in ("MOE_OUTBOX", "MOE_BUDGET"):
                deployment.environ[name] = value.replace("redis:6379", address)
        deployment.serves(
            of_image(), services["relay"]["command"], [one[2:] for one in checks]
        )
        status = deployment.command("moe-middleware", "status")

    assert "waiting   0" in status.stdout


def test_what_compose_names_is_there() -> None:
    file = yaml.safe_load(block_of(DOCKER, "compose.yml").text)

    for service in file["services"].values():
        assert {one.partition(":")[0] for one in service["volumes"]} == {
            *file["volumes"]
        }
        assert {*service["secrets"]} == {*file["secrets"]}
        assert {*service["environment"]} <= KNOWN
        for name, value in service["environment"].items():
            assert not name.endswith("_FILE") or Path(value).name in file["secrets"]


def test_kubernetes_starts_the_image_and_its_relay() -> None:
    [relay] = of_kubernetes()["moe-relay"]["spec"]["template"]["spec"]["containers"]
    services = yaml.safe_load(block_of(DOCKER, "compose.yml").text)["services"]

    # Its probes come from the node, not from within the container.
    assert relay["command"][2:4] == ["--probe-host", "0.0.0.0"]
    assert relay["command"][:2] + relay["command"][4:] == services["relay"]["command"]


def of_kubernetes() -> dict[str, Any]:
    parts = yaml.safe_load_all(block_of(KUBERNETES, "shop.yml").text)
    return {
        f"{one['metadata']['name']}": one for one in parts if one["kind"] != "Service"
    }


def test_what_kubernetes_names_fits_together() -> None:
    text = block_of(KUBERNETES, "shop.yml").text
    parts = [*yaml.safe_load_all(text)]
    [service] = [one for one in parts if one["kind"] == "Service"]
    [secret] = [one for one in parts if one["kind"] == "Secret"]
    labels = []

    for one in parts:
        if one["kind"] != "Deployment":
            continue
        pod, spec = one["spec"]["template"], one["spec"]["template"]["spec"]
        labels.append(pod["metadata"]["labels"])
        assert one["spec"]["selector"]["matchLabels"] == labels[-1]
        for container in spec["containers"]:
            ports = {port["name"] for port in container["ports"]}
            probes = [container["readinessProbe"], container["livenessProbe"]]
            asked = [probe.get("httpGet") or probe["tcpSocket"] for probe in probes]
            assert {probe["port"] for probe in asked} <= ports
            assert {one["name"] for one in container["volumeMounts"]} == {
                one["name"] for one in spec["volumes"]
            }
            [source] = container["envFrom"]
            assert source["secretRef"]["name"] == secret["metadata"]["name"]
    assert service["spec"]["selector"] in labels
    assert {*secret["stringData"]} <= KNOWN


def units() -> Mapping[str, configparser.ConfigParser]:
    found = {}
    for name in ("shop.service", "moe-relay.service"):
        found[name] = configparser.ConfigParser(interpolation=None)
        found[name].optionxform = str  # type: ignore[assignment,method-assign]
        found[name].read_string(block_of(SYSTEMD, name).text)
    return found


def test_systemd(deployment: Deployment) -> None:
    web, relay = (unit["Service"]["ExecStart"].split() for unit in units().values())
    before = units()["shop.service"]["Service"]["ExecStartPre"].split()
    variables = re.findall(r"^(\w+)=", block_of(SYSTEMD, "moengage.env").text, re.M)
    services = yaml.safe_load(block_of(DOCKER, "compose.yml").text)["services"]

    assert deployment.command(*before).returncode == 0
    assert {*variables} <= KNOWN
    # As in the image, which has a network of its own.
    in_image = [word for word in of_image() if word not in ("--host", "0.0.0.0")]
    assert of_python(web) == of_python(in_image)
    assert of_python(relay) == of_python(services["relay"]["command"])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("uvicorn", "moe-middleware"):
        (tmp_path / "bin" / name).symlink_to("/bin/true")
    for name in units():
        text = block_of(SYSTEMD, name).text.replace("/srv/shop/venv", str(tmp_path))
        (tmp_path / name).write_text(text.replace("User=shop", "User=root"))

    ran = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in units())],
        capture_output=True,
        text=True,
    )

    ours = [line for line in ran.stderr.splitlines() if str(tmp_path) in line]
    assert (ran.returncode, ours) == (0, [])
