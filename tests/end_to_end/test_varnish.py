"""docs/how-to/caches.md behind a real Varnish: what it shares, which mistakes leak."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp

import httpx
import pytest

from ..conftest import missing_service
from ..documents import Document
from ..servers import (
    PATIENCE,
    Process,
    browser,
    counted,
    free_port,
    running,
    sandbox_server,
    wait_for,
)

PAGE = Document("docs/how-to/caches.md").sections["A public page with a personal part"]
[VCL] = [block.text for block in PAGE if block.kind == "vcl"]

Visit = Callable[..., httpx.Response]


@contextmanager
def varnish(folder: Path, vcl: str) -> Iterator[str]:
    """Run Varnish with a configuration; yield its address."""
    folder = Path(mkdtemp(dir=folder))
    found = shutil.which("varnishd") or shutil.which("varnishd", path="/usr/sbin")
    if found is None:
        missing_service("varnishd")
    port, file, log = free_port(), folder / "site.vcl", folder / "varnish.log"
    file.write_text(vcl)
    command = [str(found), "-F", "-j", "none", "-n", str(folder / "varnish")]
    command += ["-a", f"127.0.0.1:{port}", "-f", str(file), "-s", "malloc,16m"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for(lambda: _answers(process, port, log), what="Varnish to answer")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"Varnish ended: {log.read_text()}")
    try:
        return browser.get(f"http://127.0.0.1:{port}/").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], tuple[Visit, Process]]]:
    """The page's own app, with a Varnish in front of it and a sandbox behind."""
    tmp_path = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        for block in PAGE:
            if block.file is not None:
                path = tmp_path / block.file
                path.parent.mkdir(exist_ok=True)
                path.write_text(block.text)
        sandbox = stack.enter_context(sandbox_server(free_port(), tmp_path))
        port = free_port()
        command = ["-m", "uvicorn", "--app-dir", str(tmp_path), "app:app"]
        environ = {
            "MOE_BASE_URL": f"{sandbox.url}/v1",
            "MOE_CONFIG": str(tmp_path / "moe.yml"),
            "MOE_OUTBOX": f"sqlite:///{tmp_path / 'outbox.db'}",
        }
        stack.enter_context(_chdir(tmp_path))
        stack.enter_context(
            running(
                *(*command, "--port", str(port), "--log-level", "warning"),
                port=port,
                log=tmp_path / "app.log",
                environ=environ,
            )
        )

        def begin(vcl: str) -> tuple[Visit, Process]:
            url = stack.enter_context(varnish(tmp_path, vcl.replace("8000", str(port))))

            def visit(path: str, cookie: str | None = None) -> httpx.Response:
                headers = {"User-Agent": "Mozilla/5.0 Firefox/140.0"}
                if path != "/":
                    headers["HX-Request"] = "true"
                if cookie is not None:
                    headers["Cookie"] = cookie
                # A browser of its own, which has no cookies of earlier visits.
                with httpx.Client(trust_env=False, timeout=PATIENCE) as fresh:
                    return fresh.get(f"{url}{path}", headers=headers)

            return visit, sandbox

        yield begin


@contextmanager
def _chdir(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


def counted_for(sandbox: Process, *customers: str) -> None:
    """Wait for these customers' impressions; there must be no other of a customer."""

    def found() -> list[object]:
        named = (event["customer_id"] for event in counted(sandbox))
        return [one for one in named if one in ("alice", "dave")]

    wait_for(lambda: len(found()) >= len(customers), what="the impressions")
    assert sorted(map(str, found())) == sorted(customers)
    browser.post(f"{sandbox.url}/_sandbox/reset")


HERO = "/fragments/hero"
ALICE, DAVE, BOB = (f"customer_id={name}; a=b" for name in ("alice", "dave", "bob"))


def test_the_page_is_shared_and_its_fragment_is_not(
    site: Callable[[str], tuple[Visit, Process]],
) -> None:
    visit, sandbox = site(VCL)

    pages = [visit("/", cookie) for cookie in (ALICE, DAVE, None)]
    heroes = [visit(HERO, cookie) for cookie in (ALICE, DAVE, ALICE, BOB)]
    strangers = [visit(HERO) for _ in "12"]

    # A hit has two numbers: the request's, and that of the one that was stored.
    assert [len(page.headers["x-varnish"].split()) for page in pages] == [2, 2, 2]
    assert {page.headers["cache-control"] for page in pages} == {"public, max-age=300"}
    assert {page.text for page in pages} == {pages[0].text}
    texts = [one.text for one in heroes]
    assert "The first flush is yours" in texts[0] == texts[2]
    assert "A golden cup" in texts[1]
    assert texts[3] not in texts[:3]
    for one in [*heroes, *strangers]:
        assert len(one.headers["x-varnish"].split()) == 1
        assert one.headers["cache-control"] == "private, max-age=0"
    ids = {one.cookies["moe_visitor"] for one in strangers}
    assert len(ids) == 2
    counted_for(sandbox, "alice", "alice", "dave")


NO_VARY = "unset beresp.http.Vary;"
STORES_ALL = """
sub vcl_recv { return (hash); }
sub vcl_backend_response {
    unset beresp.http.Set-Cookie;
    unset beresp.http.Vary;
    set beresp.ttl = 300s;
    return (deliver);
}
"""


def test_a_cache_that_stores_private_responses_leaks_only_without_vary(
    site: Callable[[str], tuple[Visit, Process]],
) -> None:
    for leaks in (False, True):
        wrong = STORES_ALL if leaks else STORES_ALL.replace(NO_VARY, "")
        visit, sandbox = site(VCL + wrong)

        seen = [visit(HERO, cookie) for cookie in (ALICE, DAVE, ALICE, DAVE)]

        alice, dave, *_ = texts = [one.text for one in seen]
        assert {one.headers["cache-control"] for one in seen} == {"private, max-age=0"}
        assert "The first flush is yours" in alice
        assert (dave == alice) is leaks
        assert texts == [alice, dave] * 2
        counted_for(sandbox, *(["alice"] if leaks else ["alice", "dave"]))


def test_without_cookies_every_view_is_a_new_visitor(
    site: Callable[[str], tuple[Visit, Process]],
) -> None:
    visit, _ = site(VCL.replace("fragments|", ""))

    first = visit(HERO, ALICE)
    cookie = f"customer_id=alice; moe_visitor={first.cookies['moe_visitor']}"
    second = visit(HERO, cookie)

    assert "The first flush is yours" not in first.text
    assert first.cookies["moe_visitor"] != second.cookies["moe_visitor"]
    for one in (first, second):
        assert one.headers["cache-control"] == "private, max-age=0"
