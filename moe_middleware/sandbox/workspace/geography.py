"""The places of IP addresses: the workspace's table, then an optional database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any

from .rules import Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A place; unknown parts are empty.

    Attributes:
        country: Its name, as in ``Portugal``.
        country_code: Two letters, as in ``PT``.
    """

    country: str = ""
    state: str = ""
    city: str = ""
    country_code: str = ""

    def names(self, part: Fact) -> tuple[str, ...]:
        """Return the names of its country, state or city; empty if unknown."""
        names = [getattr(self, part)]
        if part is Fact.COUNTRY:
            names.append(self.country_code)
        return tuple(filter(None, names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Geography:
    """The known places of IP addresses.

    Attributes:
        places: Networks, as in ``203.0.113.0/24``, and their places.
        database: A city database in MaxMind's format, for addresses that are not in the
            table; it needs the package maxminddb.
    """

    places: tuple[tuple[str, Location], ...] = ()
    database: str | None = None

    def locate(self, address: object) -> Location | None:
        """Return the place of an address; None if it is malformed or unknown."""
        if not isinstance(address, str):
            return None
        try:
            found = ip_address(address.strip())
        except ValueError:
            return None
        # Servers for both protocols see IPv4 addresses in this form.
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return self._in_table(found) or self._in_database(found)

    def _in_table(self, address: IPv4Address | IPv6Address) -> Location | None:
        for network, location in _narrow_first(self.places):
            if address in network:
                return location
        return None

    def _in_database(self, address: IPv4Address | IPv6Address) -> Location | None:
        if self.database is None:
            return None
        try:
            record = open_database(self.database).get(address)
        except ValueError:
            return None  # an IPv6 address in a database for IPv4
        return _as_location(record) if isinstance(record, Mapping) else None


NOWHERE = Geography()


@lru_cache(maxsize=4)
def open_database(path: str) -> Any:
    """Return a reader of a city database.

    Raises:
        ModuleNotFoundError: The package maxminddb is not installed.
        OSError: There is no such file.
        ValueError: The file is no such database.
    """
    import maxminddb

    try:
        return maxminddb.open_database(path)
    except maxminddb.InvalidDatabaseError as error:
        raise ValueError(f"{path} is no database in MaxMind's format") from error


@lru_cache(maxsize=4)
def _narrow_first(
    places: Iterable[tuple[str, Location]],
) -> list[tuple[IPv4Network | IPv6Network, Location]]:
    table = [(ip_network(network), location) for network, location in places]
    return sorted(table, key=lambda place: place[0].prefixlen, reverse=True)


def _as_location(record: Mapping[str, Any]) -> Location:
    country = record.get("country") or {}
    states = record.get("subdivisions") or [{}]
    return Location(
        country=_english(country),
        state=_english(states[0]),
        city=_english(record.get("city") or {}),
        country_code=country.get("iso_code", ""),
    )


def _english(part: Mapping[str, Any]) -> str:
    name: str = part.get("names", {}).get("en", "")
    return name
