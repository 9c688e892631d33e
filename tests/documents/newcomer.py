"""Does what a document shows, in an empty folder and inside this process."""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.routing import Route as Page
from starlette.testclient import TestClient

from moe_middleware import MoEngageMiddleware, Settings
from moe_middleware.cli import main
from moe_middleware.sandbox import Sandbox, embedded, sample_workspace
from moe_middleware.sandbox.server import start_text
from moe_middleware.settings.overrides import VARIABLES

from .. import forks
from ..sites import rendered, settings
from .reading import MAKEFILE, ROOT, Block, commands, same

VALUES = {"MOE_WORKSPACE_ID": "W1", "MOE_API_KEY": "k"}
"""What a reader of the settings has set, for the files that ask for it."""
PATIENT = "\nfetch: {timeout: 5}\n"
"""The one thing that is added: this machine may have other tests to run."""


@dataclass
class Newcomer:
    """Does in an empty folder what the blocks say, one after the other."""

    folder: Path
    patch: pytest.MonkeyPatch
    scripts: set[str] = field(default_factory=set)
    names: dict[str, Any] = field(default_factory=dict)
    app: Any = None
    output: str = ""
    unused: set[str] = field(default_factory=set)
    jars: dict[str, dict[str, str]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    sandbox: Sandbox = field(default_factory=Sandbox)

    def follow(self, block: Block) -> None:
        match block.kind:
            case "python":
                self._python(block)
            case "yaml":
                self._yaml(block)
            case "jinja":
                self._jinja(block)
            case "javascript" | "jsx":
                self._javascript(block)
            case "html" if block.file is not None:
                self.write(block)
            case "html":
                same("".join(block.text.split()), "".join(self.output.split()))
            case "console":
                for command, shown in commands(block.text):
                    self.give(command, shown)
            case "text" | "vcl" | "django":
                pass  # a drawing; or what a test of its own runs
            case _:
                pytest.fail(f"line {block.line}: what to do with {block.kind!r}?")

    def give(self, command: str, shown: str) -> None:
        """Run one command; what it puts out has to be what the document shows."""
        if kept := re.fullmatch(r"(\w+)=\$\((.+)\)", command):
            self.run(shlex.split(kept[2]))
            # Lines that only inform follow the result.
            self.variables[kept[1]] = self.output.strip().partition("\n")[0]
            return
        self.output = ""
        words = shlex.split(
            re.sub(r"\$(\w+)", lambda name: self.variables[name[1]], command)
        )
        file = words.pop() if words[-2:-1] == [">"] else None
        compared = self.run([word for word in words if file is None or word != ">"])
        if file is not None:
            (self.folder / file).write_text(self.output, encoding="utf-8")
        elif compared or shown:
            same(shown, self.output)

    def restart(self) -> None:
        """Forget what was imported from the folder, as a new process has."""
        self.app = None
        self.names = {}
        for name in [*sys.modules]:
            file = getattr(sys.modules[name], "__file__", None)
            if str(file).startswith(str(self.folder)):
                del sys.modules[name]
        importlib.invalidate_caches()
        gc.collect()  # with the app goes its cache

    def write(self, block: Block) -> None:
        assert block.file is not None
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = block.text
        if block.file == "moe.yml" and "\nfetch:" not in text:
            text += PATIENT
        path.write_text(text, encoding="utf-8")
        self.restart()

    def _python(self, block: Block) -> None:
        if block.file is None:
            self._go_on(block)
            return
        self.write(block)
        if block.file in self.scripts or block.file.startswith("test_"):
            self.unused.add(block.file)  # a command must run it
            return
        importlib.import_module(Path(block.file).stem)

    def _go_on(self, block: Block) -> None:
        """Run a block that goes on from app.py and from the blocks before it."""
        self.names = self.names or vars(importlib.import_module("app")).copy()
        before = self.names["app"]
        code = compile("\n" * block.line + block.text, "the document", "exec")
        exec(code, self.names)
        if self.names["app"] is not before:
            self.app = self.names["app"]
            assert self.visit("GET", "http://127.0.0.1:8000/").is_success

    def _yaml(self, block: Block) -> None:
        file = self.folder / (block.file or "moe.yml")
        if block.file is None:
            whole = yaml.safe_load(file.read_text()) | yaml.safe_load(block.text)
            file.write_text(yaml.safe_dump(whole), encoding="utf-8")
            self.restart()
        else:
            self.write(block)
        if file.name == "moe.yml":
            Settings.load(file, environ=VALUES | os.environ)
        else:
            self.unused.add(file.name)  # wrong, or another's; a command must read it

    def _jinja(self, block: Block) -> None:
        if block.file is not None:
            self.write(block)
            return
        keys = [one.key for one in sample_workspace().experiences]
        routes = [{"path": "/", "experiences": [*keys, "no-such-key"]}]
        page = Starlette(routes=[Page("/", rendered(block.text))])
        self.app = MoEngageMiddleware(page, config=settings(routes=routes))
        self.output = self.visit(
            "GET", "http://127.0.0.1:8000/", {"Cookie": "customer_id=alice"}
        ).text

    def _javascript(self, block: Block) -> None:
        import tree_sitter_javascript
        from tree_sitter import Language, Parser

        assert block.file, f"line {block.line}: name the file, in the first line"
        parser = Parser(Language(tree_sitter_javascript.language()))  # JSX as well
        tree = parser.parse(block.text.encode())
        assert not tree.root_node.has_error, f"{block.file}: {tree.root_node}"
        self.write(block)

    # --- commands ----------------------------------------------------------

    def run(self, words: list[str]) -> bool:
        """Run one command; return whether what it puts out has to be shown."""
        with pytest.MonkeyPatch.context() as patch:
            while words and re.match(r"\w+=", words[0]):
                _set(patch, words.pop(0))
            self.unused -= {*words}
            match words:
                case ["export", *pairs]:
                    for pair in pairs:
                        _set(self.patch, pair)
                case ["make", target, *options]:
                    assert target in MAKEFILE
                    assert all(_is_make_variable(option) for option in options)
                    return False
                case ["pip", "install", *packages]:
                    assert all(_is_known_package(package) for package in packages)
                    return False
                case ["celery", *_]:
                    return False  # tests/end_to_end/test_celery.py runs it
                case ["uvicorn", target]:
                    self.restart()
                    embedded().reset()
                    self._load_app(target)
                    return False
                case ["curl", *arguments]:
                    self._curl(arguments)
                case ["echo", text]:
                    self.output = f"{text}\n"
                case ["python", script]:
                    with redirect_stdout(StringIO()) as out:
                        runpy.run_path(script, run_name="__main__")
                    self.output = out.getvalue()
                case ["redis-cli", *_]:
                    ran = subprocess.run(words, capture_output=True, text=True)
                    self.output = ran.stdout + ran.stderr
                case ["pytest", *arguments]:
                    self._pytest(arguments)
                case ["moe-middleware", *arguments]:
                    self._moe_middleware(arguments)
                case _:
                    pytest.fail(f"what to do with the command {words}?")
        return True

    def _pytest(self, arguments: list[str]) -> None:
        ran = forks.run("-m", "pytest", *arguments)
        self.output = ran.stdout + ran.stderr

    def _moe_middleware(self, arguments: list[str]) -> None:
        if arguments[0] == "sandbox" and "--write-sample" not in arguments:
            # It would serve for ever; its options are read, and its first words.
            context = main.commands["sandbox"].make_context("sandbox", arguments[1:])
            url = f"http://127.0.0.1:{context.params['port']}"
            workspace = Sandbox(context.params["workspace"]).workspace
            self.output = start_text(workspace, url)
            return
        self.output = CliRunner().invoke(main, arguments).output

    def _curl(self, arguments: list[str]) -> None:
        parser = argparse.ArgumentParser(exit_on_error=False)
        parser.add_argument("-i", action="store_true")
        parser.add_argument("-s", action="store_true")
        parser.add_argument("-X", default=None)
        parser.add_argument("-d", default=None)
        parser.add_argument("-H", action="append", default=[])
        parser.add_argument("-b", "--cookie", default="")
        parser.add_argument("-c", "--cookie-jar", default=None)
        parser.add_argument("url")
        given = parser.parse_args(arguments)
        headers = dict(re.split(r":\s*", one, maxsplit=1) for one in given.H)
        jar = self.jars.get(given.cookie, {})
        cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
        if cookies or given.cookie:
            headers["Cookie"] = cookies or given.cookie
        if given.d:
            form = "application/x-www-form-urlencoded"
            headers.setdefault("Content-Type", form)
        method = given.X or ("POST" if given.d else "GET")
        answer = self.visit(method, given.url, headers, given.d)
        if given.cookie_jar:
            self.jars[given.cookie_jar] = {**jar, **answer.cookies}
        head = [f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}"]
        head += [f"{name}: {value}" for name, value in answer.headers.multi_items()]
        self.output = "\n".join([*(head if given.i else []), answer.text])

    def visit(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
    ) -> Any:
        """Make one request to what would listen there, from its start to its end."""
        app = self.sandbox if ":8787/" in url else self.app or self._load_app()
        sent = {"User-Agent": "curl/8", **(headers or {})}
        browser = TestClient(app, client=("127.0.0.1", 50_000), follow_redirects=False)
        with browser:
            return browser.request(method, url, headers=sent, content=body)

    def _load_app(self, target: str = "app:app") -> Any:
        module, _, name = target.partition(":")
        self.app = getattr(importlib.import_module(module), name)
        return self.app


def _set(patch: pytest.MonkeyPatch, pair: str) -> None:
    name, _, value = pair.partition("=")
    known = name.removesuffix("_FILE")
    named = [path for path in Path().glob("*.yml") if f"${{{known}" in path.read_text()]
    assert named or known in (*VARIABLES, "MOE_CONFIG")
    patch.setenv(name, value)


def _is_make_variable(option: str) -> bool:
    name = option.partition("=")[0]
    return bool(re.search(rf"^{name} \?=", (ROOT / "Makefile").read_text(), re.M))


def _is_known_package(package: str) -> bool:
    """Whether it is ours, with an extra that exists, or one that we name ourselves."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    name, _, extra = package.rstrip("]").partition("[")
    if name == project["project"]["name"]:
        return not extra or extra in project["project"]["optional-dependencies"]
    return f'"{name}>=' in (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def newcomer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> Iterator[Newcomer]:
    """A reader in an empty folder, without any variable of ours."""
    for name in [name for name in os.environ if name.startswith("MOE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_ADDOPTS", forks.WITHOUT_PLUGINS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # A page may set up logging.
    logger = logging.getLogger("moe_middleware")
    level, handlers = logger.level, [*logger.handlers]
    newcomer = Newcomer(tmp_path, monkeypatch)
    yield newcomer
    newcomer.restart()
    logger.setLevel(level)
    logger.handlers[:] = handlers
