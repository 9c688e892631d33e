"""Sites under test: whatever their settings name, the sandbox answers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from openfeature.evaluation_context import EvaluationContext
from openfeature.track import TrackingEventDetails

from moe_middleware import (
    Identity,
    MoEngageClient,
    MoEngageWSGIMiddleware,
    Settings,
    SyncMoEngageClient,
    TransportError,
)
from moe_middleware.openfeature import MoEngageProvider
from moe_middleware.sandbox import Workspace, embedded
from moe_middleware.testing import deliver, sandboxed

from . import forks

KEY = "hero"


def real(tmp_path: Path, **more: Any) -> Settings:
    """Return settings of a real workspace, which no test may reach."""
    return Settings(
        workspace={
            "id": "REAL",
            "api_key": "real-key",
            "base_url": "http://127.0.0.1:9/v1",
        },
        identity={"customer_id": {"value": "alice"}},
        routes=[{"path": "/", "experiences": [KEY]}],
        fetch={"timeout": 5},
        events={"outbox": f"sqlite:///{tmp_path}/outbox.db", "relay": "off"},
        budget={"store": f"sqlite:///{tmp_path}/budget.db"},
        cache={"redis": "redis://127.0.0.1:9/0"},
        **more,
    )


def visit(app: Any) -> str:
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_NAME": "shop"}
    body = app(environ, lambda *_: None)
    text = b"".join(body).decode()
    body.close()
    return text


def home(environ: Any, start_response: Any) -> list[bytes]:
    title = environ["moe_middleware.experiences"].show(KEY).get("Title", "Welcome")
    body = str(title).encode()
    length = ("Content-Length", str(len(body)))
    start_response("200 OK", [("Content-Type", "text/html"), length])
    return [body]


def test_no_setting_leads_out_of_the_sandbox(tmp_path: Path) -> None:
    with sandboxed() as sandbox:
        sandbox.define(KEY, {"Title": "Hello"})
        given = real(tmp_path, development={"overlay": "on"})
        text = visit(MoEngageWSGIMiddleware(home, given))
        deliver()

        assert text == "Hello"
        assert sandbox.impressions(KEY) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_app_that_was_wrapped_before_is_led_there_too(tmp_path: Path) -> None:
    given = real(tmp_path)
    app = MoEngageWSGIMiddleware(home, given)
    made = app.runtime
    with sandboxed() as sandbox:
        sandbox.define(KEY, {"Title": "Hello"})
        assert visit(app) == "Hello"
        deliver()
        assert sandbox.impressions(KEY) == 1

    assert app.runtime is made
    assert list(tmp_path.iterdir()) == []


async def test_a_client_is_led_there_too(tmp_path: Path) -> None:
    with sandboxed() as sandbox:
        sandbox.define(KEY, {"Title": "Hello"})
        async with MoEngageClient(real(tmp_path)) as client:
            found = await client.fetch([KEY], identity=Identity(customer_id="alice"))

    assert found[KEY]["Title"] == "Hello"


async def test_clients_that_were_made_before_are_led_there_meanwhile(
    tmp_path: Path,
) -> None:
    client, sync = MoEngageClient(real(tmp_path)), SyncMoEngageClient(real(tmp_path))
    for title in ("Hello", "Again"):
        with sandboxed() as sandbox:
            sandbox.define(KEY, {"Title": title})
            assert (await client.fetch([KEY]))[KEY]["Title"] == title
            in_thread = await asyncio.to_thread(sync.fetch, [KEY])
            assert in_thread[KEY]["Title"] == title
            # Only these have asked, and each once.
            assert sandbox.calls["fetch"] == 2
    with pytest.raises(TransportError):
        await client.fetch([KEY], timeout=1)
    await client.aclose()


def test_a_provider_that_was_made_before_is_led_there_meanwhile(tmp_path: Path) -> None:
    provider = MoEngageProvider(real(tmp_path))
    made, alice = provider.runtime, EvaluationContext(targeting_key="alice")
    for title in ("Hello", "Again"):
        with sandboxed() as sandbox:
            sandbox.define(f"{KEY}-{title}", {"Title": title})
            flag = f"{KEY}-{title}.Title"
            found = provider.resolve_string_details(flag, "none", alice)
            assert found.value == title
            provider.track(
                "impression",
                alice,
                TrackingEventDetails(attributes={"key": f"{KEY}-{title}"}),
            )
            deliver()
            assert sandbox.impressions(f"{KEY}-{title}") == 1

    assert provider.runtime is made
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_of_ones_own_has_its_names(tmp_path: Path) -> None:
    own = Workspace(workspace_id="OWN", api_keys=("k",))
    with sandboxed(own) as sandbox:
        sandbox.define(KEY, {"Title": "Mine"})
        assert visit(MoEngageWSGIMiddleware(home, real(tmp_path))) == "Mine"


def test_afterwards_everything_is_as_before(tmp_path: Path) -> None:
    before = embedded().workspace
    with sandboxed() as outer:
        outer.define(KEY, {"Title": "Outer"})
        with sandboxed() as inner:
            assert visit(MoEngageWSGIMiddleware(home, real(tmp_path))) == "Welcome"
            inner.define(KEY, {"Title": "Inner"})
    assert embedded().workspace is before
    settings = real(tmp_path)
    assert MoEngageWSGIMiddleware(home, settings).runtime.settings is settings


# --- Django's runner ---------------------------------------------------------

PROJECT = {
    "manage.py": """
import multiprocessing, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "shop"
from django.core.management import execute_from_command_line
if __name__ == "__main__":  # from Python 3.14 on, other processes import it
    if "--spawn" in sys.argv:
        sys.argv.remove("--spawn")
        multiprocessing.set_start_method("spawn")
    execute_from_command_line(sys.argv)
""",
    "shop.py": """
SECRET_KEY = "x"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["moe_middleware"]
MIDDLEWARE = ["moe_middleware.django.MoEngageMiddleware"]
TEST_RUNNER = "moe_middleware.testing.django.SandboxRunner"
MOENGAGE = {
    "workspace": {
        "id": "REAL", "api_key": "real-key", "base_url": "http://127.0.0.1:9/v1"
    },
    "identity": {"customer_id": {"cookie": "customer_id"}},
    "fetch": {"timeout": 5},
    "routes": [{"path": "/", "experiences": ["hero"]}],
}
""",
    "urls.py": """
from django.http import HttpResponse
from django.urls import path

def home(request):
    return HttpResponse(request.experiences.show("hero").get("Title", "Welcome"))

urlpatterns = [path("", home)]
""",
    "test_home.py": """
from django.test import SimpleTestCase
from moe_middleware.testing.django import deliver, sandboxed

class HomeTests(SimpleTestCase):
    def setUp(self):
        self.sandbox = self.enterContext(sandboxed())
        self.client.cookies["customer_id"] = "ada"

    def test_everyone_sees_the_hero(self):
        self.sandbox.define("hero", {"Title": "For you"})
        self.assertContains(self.client.get("/"), "For you")
        deliver()
        self.assertEqual(self.sandbox.impressions("hero"), 1)

    def test_nothing_is_left(self):
        self.assertContains(self.client.get("/"), "Welcome")

class OtherTests(SimpleTestCase):
    def test_without_a_sandbox_of_its_own(self):
        self.client.cookies["customer_id"] = "ada"
        response = self.client.get("/")
        self.assertContains(response, "Welcome")
        self.assertEqual(
            response.wsgi_request.experiences["hero"].reason, "no_match"
        )
""",
}


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "options",
    [[], ["--parallel", "2"], ["--parallel", "2", "--spawn"]],
    ids=["one process", "several", "several that are spawned"],
)
def test_djangos_runner_reaches_no_server(tmp_path: Path, options: list[str]) -> None:
    for name, text in PROJECT.items():
        (tmp_path / name).write_text(text)

    ran = forks.run("manage.py", "test", *options, cwd=tmp_path)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Ran 3 tests" in ran.stderr
    assert not [*tmp_path.glob("*.db*")]
