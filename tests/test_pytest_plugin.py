"""The plugin as a user meets it: a suite of its own, run by a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import forks

pytestmark = pytest.mark.timeout(200)
"""Each test runs a pytest."""

APP = """
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from moe_middleware import MoEngageMiddleware, Settings


async def home(request):
    hero = request.state.experiences.show("hero")
    return PlainTextResponse(hero.payload.get("Title", "Welcome"))


def build():
    settings = Settings.from_env(
        identity={"customer_id": {"cookie": "customer_id"}},
        routes=[{"path": "/", "experiences": ["hero"]}],
        events={"outbox": "memory:"},
    )
    return Starlette(
        routes=[Route("/", home)],
        middleware=[Middleware(MoEngageMiddleware, config=settings)],
    )
"""


def run(
    folder: Path, suite: str, *options: str, anew: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a suite as its author would, with warnings as errors.

    Args:
        folder: Gets the suite, and an app.
        suite: The tests.
        options: pytest's.
        anew: Start Python for it, where it matters which modules are imported.
    """
    (folder / "shop.py").write_text(APP)
    (folder / "test_shop.py").write_text(suite)
    plugins = forks.WITHOUT_PLUGINS.split()
    pytest_words = ("-m", "pytest", "-q", "-W", "error", *plugins, *options)
    return forks.run(*(("-W", "error") if anew else ()), *pytest_words, cwd=folder)


def assert_passed(ran: subprocess.CompletedProcess[str], count: int) -> None:
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{count} passed" in ran.stdout


def test_import_of_the_plugin_loads_pytest_and_the_standard_library_alone() -> None:
    program = (
        "import sys, pytest\n"
        "before = {*sys.modules}\n"
        "import moe_middleware.pytest_plugin\n"
        "new = {name.split('.')[0] for name in {*sys.modules} - before}\n"
        "print(sorted(new - sys.stdlib_module_names))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "['moe_middleware']"


def test_suite_that_does_not_use_it_is_left_alone(tmp_path: Path) -> None:
    suite = (
        "import sys\n"
        "def test_nothing(request):\n"
        "    assert not [f for f in request.fixturenames if f.startswith('moe')]\n"
        "    assert 'moe_middleware.sandbox' not in sys.modules\n"
        "    assert 'httpx' not in sys.modules\n"
    )

    ran = run(tmp_path, suite, "-p", "no:respx", anew=True)

    assert_passed(ran, 1)


def test_app_in_process_is_personalised_and_counted(tmp_path: Path) -> None:
    suite = """
import pytest
from starlette.testclient import TestClient
from moe_middleware.sandbox import sample_workspace
from shop import build

class TestWorkspaceOfItsOwn:
    @pytest.fixture
    def moe_workspace(self):
        return sample_workspace()

    def test_sample_is_there(self, moe_sandbox, moe_sandbox_server):
        for one in (moe_sandbox, moe_sandbox_server):
            assert one.workspace.name == "Tea & Thyme"
            one.define("hero", {})
            one.reset()
            assert "hero" not in [one.key for one in one.workspace.experiences]

def visit(**cookies):
    with TestClient(build(), cookies=cookies) as browser:
        return browser.get("/").text

def test_gold_members_see_their_hero(moe_sandbox):
    moe_sandbox.customer("ada", tier="gold")
    moe_sandbox.define("hero", {"Title": "For you"}, to={"tier": "gold"})

    assert visit(customer_id="ada") == "For you"
    assert visit(customer_id="eve") == "Welcome"
    assert moe_sandbox.impressions("hero") == 1
    assert moe_sandbox.clicks("hero") == 0

def test_outage_shows_the_fallback(moe_sandbox):
    moe_sandbox.define("hero", {"Title": "Hello"})
    moe_sandbox.fault("fetch", status=503, times=None)

    assert visit(customer_id="ada") == "Welcome"
    assert moe_sandbox.impressions("hero") == 0

def test_nothing_is_left_of_other_tests(moe_sandbox):
    assert moe_sandbox.events == []
    assert moe_sandbox.workspace.experiences == ()
    assert visit(customer_id="ada") == "Welcome"

def test_clock_stands_still(moe_sandbox):
    moe_sandbox.freeze(1_790_000_000)
    moe_sandbox.define("hero", {"Title": "Hello"})

    assert visit(customer_id="ada") == "Hello"
    assert moe_sandbox.events[0]["received_at"] == 1_790_000_000

def test_sample_is_back_afterwards():
    from moe_middleware.sandbox import embedded
    assert embedded().workspace.name == "Tea & Thyme"
"""

    assert_passed(run(tmp_path, suite), 6)


def test_app_in_another_process_finds_the_server(tmp_path: Path) -> None:
    suite = '''
import subprocess, sys, threading
PROGRAM = """
from starlette.testclient import TestClient
from shop import build
with TestClient(build(), cookies={"customer_id": "ada"}) as browser:
    print(browser.get("/").text)
"""

def visit():
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()

def test_other_process_is_counted(moe_sandbox_server):
    moe_sandbox_server.define("hero", [{"Title": "A"}, {"Title": "A"}])

    assert visit() == "A"
    assert moe_sandbox_server.impressions("hero") == 1
    assert moe_sandbox_server.calls["fetch"] == 1

def test_other_process_meets_a_dropped_connection(moe_sandbox_server):
    moe_sandbox_server.define("hero", {"Title": "A"})
    moe_sandbox_server.fault("fetch", drop=True, times=None)

    assert visit() == "Welcome"

def test_thread_and_port_are_gone():
    assert [one for one in threading.enumerate() if one.name == "moe-sandbox"] == []
'''

    assert_passed(run(tmp_path, suite), 3)


SITE = """
workspace: {data_center: sandbox}
identity: {customer_id: {cookie: customer_id}}
routes: [{path: /, experiences: [hero]}]
events: {outbox: "sqlite:///own.db"}
"""
SITE_SUITE = """
import os, subprocess, sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from moe_middleware import MoEngageMiddleware

async def home(request):
    hero = request.state.experiences.show("hero")
    return PlainTextResponse(hero.payload.get("Title", "Welcome"))

app = MoEngageMiddleware(Starlette(routes=[Route("/", home)]))

def visit():
    with TestClient(app, cookies={"customer_id": "ada"}) as browser:
        return browser.get("/").text

def test_embedded(moe_sandbox):
    moe_sandbox.define("hero", {"Title": "For you"})
    assert visit() == "For you"
    assert moe_sandbox.impressions("hero") == 1

def test_embedded_again(moe_sandbox):
    assert visit() == "Welcome"
    assert moe_sandbox.events == []

def test_other_process(moe_sandbox_server):
    moe_sandbox_server.define("hero", {"Title": "For you"})
    program = "import test_shop; print(test_shop.visit())"
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.stdout.strip() == "For you", ran.stderr
    assert moe_sandbox_server.impressions("hero") == 1
"""


def test_a_site_of_its_own_file_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "moe.yml").write_text(SITE)
    before = {"moe.yml", "shop.py", "test_shop.py"}

    ran = run(tmp_path, SITE_SUITE)

    assert_passed(ran, 3)
    left = {one.name for one in tmp_path.iterdir()} - {"__pycache__"}
    assert left == before


def test_it_lives_with_other_plugins(tmp_path: Path) -> None:
    suite = """
import httpx, pytest
from moe_middleware import Identity, MoEngageClient

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("number", [1, 2])
async def test_client_finds_it(moe_sandbox, number):
    moe_sandbox.define("hero", {"Number": number})

    async with MoEngageClient() as client:
        found = await client.fetch(["hero"], identity=Identity(customer_id="ada"))

    assert found["hero"].payload == {"Number": number}
"""

    assert_passed(run(tmp_path, suite, "-n", "1"), 2)


def test_missing_uvicorn_says_what_to_install(tmp_path: Path) -> None:
    suite = """
import sys

def test_server(moe_sandbox_server):
    pass

sys.modules["uvicorn"] = None
"""

    ran = run(tmp_path, suite, anew=True)

    assert ran.returncode == 1
    assert "pip install 'moe_middleware[sandbox]'" in ran.stdout
