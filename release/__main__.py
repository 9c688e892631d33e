"""Makes a release in ``dist/``, and uploads nothing: ``python -m release``.

``--rehearsal`` goes on where a release would be refused: what it makes is for looking
at, and never for an upload.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from .builds import build, digests
from .commands import CommandError, git, run
from .contents import differences
from .environments import Environment
from .refusals import refusals, version_of

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"


def main(*arguments: str) -> None:
    """Make a release, or say why not."""
    rehearsal = arguments == ("--rehearsal",)
    if arguments and not rehearsal:
        sys.exit(f"{' '.join(arguments)}: there is only --rehearsal")
    reasons = refusals(ROOT)
    for reason in reasons:
        print(f"  not yet: {reason}")
    if reasons and not rehearsal:
        sys.exit("Nothing was made.")
    try:
        with tempfile.TemporaryDirectory() as folder:
            _make(Path(folder))
    except CommandError as error:
        sys.exit(f"This failed, and nothing was made: {error}")
    print("dist/ has:")
    for path in sorted(DIST.iterdir()):
        print(f"  {path.name}  {path.stat().st_size:,} bytes")
    print(_next_steps(version_of(ROOT)) if not reasons else "A rehearsal: upload none.")


def _make(folder: Path) -> None:
    """Make all files of a release in a folder, then put them into ``dist/``."""
    first, clone = folder / "first", folder / "another" / "place"
    dist = build(ROOT, first, umask=0o022)
    _say("built from the last commit:", git(ROOT, "log", "-1", "--format=%h %s"))
    if digests(build(ROOT, clone, umask=0o077)) != digests(dist):
        sys.exit("Two builds of the same commit differ.")
    _say("a second build, in another folder, is the same byte for byte")
    if found := differences(first, dist):
        sys.exit("\n".join(["The files differ from git's:", *found]))
    _say("their files are git's")
    run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir())
    _say("twine check: README.md can be shown by a package index")
    _try_out(folder, first, dist)
    (dist / "SHA256SUMS").write_text(
        "".join(f"{digest}  {name}\n" for name, digest in digests(dist).items())
    )
    shutil.rmtree(DIST, ignore_errors=True)
    shutil.copytree(dist, DIST)


def _try_out(folder: Path, clone: Path, dist: Path) -> None:
    """Try the wheel with each extra; list the packages of none and of all."""
    pyproject = clone / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    [wheel] = dist.glob("*.whl")
    version = version_of(clone)
    for extra in ("", *project["optional-dependencies"]):
        place = folder / f"environment-{extra}"
        installed = Environment(place, wheel, extra, clone / "constraints.txt")
        if extra in ("", "all"):
            parts = [project["name"], version, *([extra] if extra else [])]
            file = dist / f"{'-'.join(parts)}.cdx.json"
            installed.list_packages(pyproject, version, file)
        installed.try_out()
        shutil.rmtree(place)
        _say(f"smoke test: {project['name']}[{extra}]" if extra else "smoke test: bare")


def _next_steps(version: str) -> str:
    return f"""
Nothing was uploaded. The last steps are a person's:

  git tag --sign v{version} && git push origin v{version}
  twine upload dist/*.whl dist/*.tar.gz

Then attach all of dist/ to the release of this tag, with its part of CHANGELOG.md."""


def _say(*words: str) -> None:
    print("  ok:", *words, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
