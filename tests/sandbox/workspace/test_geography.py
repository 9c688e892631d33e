"""The optional database of cities, in a file of MaxMind's format made here."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from moe_middleware.models.errors import SettingsError
from moe_middleware.sandbox.workspace.file import load_workspace, parse_workspace
from moe_middleware.sandbox.workspace.geography import Geography, Location

pytest.importorskip("maxminddb")

LISBON = {
    "country": {"iso_code": "PT", "names": {"en": "Portugal", "de": "Portugal"}},
    "subdivisions": [{"names": {"en": "Lisbon District"}}],
    "city": {"names": {"en": "Lisbon"}},
}


def packed(value: Any) -> bytes:
    """A value of the format's data section; numbers are packed already."""
    match value:
        case str():
            text = value.encode()
            return bytes([2 << 5 | len(text)]) + text
        case dict():
            inner = b"".join(packed(k) + packed(v) for k, v in value.items())
            return bytes([7 << 5 | len(value)]) + inner
        case list():
            return bytes([len(value), 11 - 7]) + b"".join(map(packed, value))
        case _:
            return value  # type: ignore[no-any-return]


def uint16(value: int) -> bytes:
    return bytes([5 << 5 | 2]) + struct.pack(">H", value)


def uint32(value: int) -> bytes:
    return bytes([6 << 5 | 4]) + struct.pack(">I", value)


def uint64(value: int) -> bytes:
    return bytes([8, 9 - 7]) + struct.pack(">Q", value)


def database(path: Path, record: dict[str, Any]) -> Path:
    """Write a database that knows the addresses from 128.0.0.0 on."""
    nodes = 1
    tree = (nodes).to_bytes(3) + (nodes + 16).to_bytes(3)
    metadata = {
        "node_count": uint32(nodes),
        "record_size": uint16(24),
        "ip_version": uint16(4),
        "database_type": "Test-City",
        "languages": ["en"],
        "binary_format_major_version": uint16(2),
        "binary_format_minor_version": uint16(0),
        "build_epoch": uint64(1),
        "description": {"en": "A test"},
    }
    end = b"\xab\xcd\xefMaxMind.com"
    path.write_bytes(tree + bytes(16) + packed(record) + end + packed(metadata))
    return path


def test_database_knows_what_the_table_does_not(tmp_path: Path) -> None:
    geography = Geography(
        places=(("203.0.113.0/24", Location(country="Spain")),),
        database=str(database(tmp_path / "city.mmdb", LISBON)),
    )

    assert geography.locate("203.0.113.1") == Location(country="Spain")
    assert geography.locate("198.51.100.1") == Location(
        country="Portugal", state="Lisbon District", city="Lisbon", country_code="PT"
    )
    assert geography.locate("10.0.0.1") is None
    assert geography.locate("2001:db8::1") is None


def test_database_may_know_little(tmp_path: Path) -> None:
    path = database(tmp_path / "city.mmdb", {"country": {"iso_code": "PT"}})

    found = Geography(database=str(path)).locate("198.51.100.1")

    assert found == Location(country_code="PT")


def test_workspace_file_finds_its_database_beside_it(tmp_path: Path) -> None:
    database(tmp_path / "city.mmdb", LISBON)
    path = tmp_path / "workspace.yml"
    path.write_text("geography: {database: city.mmdb}")

    location = load_workspace(path).geography.locate("198.51.100.1")

    assert location is not None
    assert location.city == "Lisbon"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("notes.txt", "{0} is no database in MaxMind's format"),
        ("none.mmdb", "'{0}' cannot be read: No such file or directory"),
    ],
)
def test_file_that_is_no_database_is_a_mistake(
    tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "notes.txt").write_text("no database")
    path = tmp_path / "workspace.yml"
    path.write_text(f"name: Tea\ngeography:\n  database: {name}\n")

    with pytest.raises(SettingsError) as caught:
        load_workspace(path)

    given = why.format(tmp_path / name)
    assert str(caught.value) == f"{path}:3: geography.database: {given}"


def test_missing_package_is_reported_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "maxminddb", None)

    with pytest.raises(SettingsError, match=r"pip install 'moe_middleware\[geo\]'"):
        parse_workspace("geography: {database: none-yet.mmdb}")
