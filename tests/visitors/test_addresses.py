from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moe_middleware.visitors.addresses import MAX_HOPS, TrustedProxies, client_address

from ..rows import each

NO_PROXIES = TrustedProxies()
OURS = TrustedProxies(["10.0.0.0/8", "fd00::/8"])
PROXY = "10.0.0.1"
VISITOR = "203.0.113.7"
FORGED = "198.51.100.66"


def behind_proxy(
    *x_forwarded_for: str, forwarded: Sequence[str] = (), peer: str | None = PROXY
) -> str | None:
    return client_address(peer, forwarded, x_forwarded_for, OURS)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (VISITOR, VISITOR),
        ("2001:DB8:0:0::7", "2001:db8::7"),
        ("::ffff:203.0.113.7", VISITOR),
        ("fe80::1%eth0", "fe80::1"),
        (None, None),
        ("", None),
        ("testclient", None),
    ],
)
def test_without_trusted_proxies_it_is_the_peer(
    peer: str | None, address: str | None
) -> None:
    assert client_address(peer, [f"for={FORGED}"], [FORGED], NO_PROXIES) == address


@each(
    ("lines", "address"),
    [
        ([VISITOR], VISITOR),
        ([f"{VISITOR}, 10.0.0.2"], VISITOR),
        ([f"{FORGED}, {VISITOR}"], VISITOR),
        ([f"{FORGED}, {VISITOR}, 10.0.0.2"], VISITOR),
        ([FORGED, f"{VISITOR},10.0.0.2"], VISITOR),
        ([f"\t{VISITOR} "], VISITOR),
        ([f"{VISITOR}:51000"], VISITOR),
        (["2001:db8::7"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["[2001:db8::7]:51000"], "2001:db8::7"),
        (["fe80::1%eth0"], "fe80::1"),
        (["::ffff:203.0.113.7"], VISITOR),
        (["[::ffff:203.0.113.7]:80"], VISITOR),
        ([f"{VISITOR}, ::ffff:10.0.0.2"], VISITOR),
        ([f"{VISITOR}, fd00::9"], VISITOR),
    ],
)
def test_the_rightmost_untrusted_address_of_x_forwarded_for_is_the_visitor(
    lines: list[str], address: str
) -> None:
    assert behind_proxy(*lines) == address


@each(
    ("lines", "address"),
    [
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([], PROXY),
        ([""], PROXY),
        ([" , ,"], PROXY),
        (["unknown"], PROXY),
        (["garbage, 10.0.0.2"], "10.0.0.2"),
        ([f"{FORGED}, unknown, 10.0.0.2"], "10.0.0.2"),
        ([f"{FORGED}, , 10.0.0.2"], "10.0.0.2"),
        ([f"{FORGED},"], PROXY),
        (["203.0.113.300"], PROXY),
        (["203.0.113.007"], PROXY),
        ([f"{VISITOR}:port"], PROXY),
        ([f"{VISITOR};"], PROXY),
        (["[2001:db8::7"], PROXY),
        (["[]:80"], PROXY),
        (["2" * 10_000], PROXY),
    ],
)
def test_what_is_no_address_ends_the_reading_at_the_last_good_one(
    lines: list[str], address: str
) -> None:
    assert behind_proxy(*lines) == address


@each(
    ("lines", "address"),
    [
        ([f"for={VISITOR}"], VISITOR),
        ([f"For={VISITOR}"], VISITOR),
        ([f'for="{VISITOR}"'], VISITOR),
        ([f"for={VISITOR}:51000"], VISITOR),
        ([f'for="{VISITOR}:_port"'], VISITOR),
        (['for="[2001:db8::7]:51000"'], "2001:db8::7"),
        (['for="[2001:db8::7]"'], "2001:db8::7"),
        (["for=[2001:db8::7]"], "2001:db8::7"),
        ([f"for={VISITOR};proto=https;by=10.0.0.1"], VISITOR),
        ([f'proto=https; for={VISITOR} ;host="shop.example";'], VISITOR),
        ([f"for={FORGED}, for={VISITOR}, for=10.0.0.2"], VISITOR),
        ([f"for={FORGED}", f"for={VISITOR}"], VISITOR),
        (["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3"),
        (["for=unknown"], PROXY),
        (["for=_hidden, for=10.0.0.2"], "10.0.0.2"),
        ([f"for={FORGED}, for=unknown"], PROXY),
        ([f"for={FORGED}, proto=https"], PROXY),
        ([f"for={VISITOR};for={FORGED}"], PROXY),
        (['for=""'], PROXY),
        ([f"for={VISITOR};broken"], PROXY),
        ([f'for="{VISITOR}'], PROXY),
        ([f'for="{VISITOR}\\"'], PROXY),
        ([VISITOR], PROXY),
    ],
)
def test_the_forwarded_header_is_read_as_rfc_7239_writes_it(
    lines: list[str], address: str
) -> None:
    assert behind_proxy(forwarded=lines) == address


def test_a_quote_left_open_by_the_visitor_cannot_swallow_the_proxys_word() -> None:
    of_a_value = f'for={FORGED};x=", for={VISITOR};host="shop.example"'
    of_an_address = f'for="{FORGED}, for={VISITOR}'

    assert behind_proxy(forwarded=[of_a_value]) == VISITOR
    assert behind_proxy(forwarded=[of_an_address]) == VISITOR


@each("host", [f"x, for={FORGED};y", f"x;for={FORGED};y", f'x\\", for={FORGED};y=\\"'])
def test_a_host_header_quoted_by_the_proxy_cannot_name_an_address(host: str) -> None:
    lines = [f'for={VISITOR};host="{host}"']

    assert behind_proxy(forwarded=lines) in (VISITOR, PROXY)


@each(
    ("x_forwarded_for", "forwarded", "address"),
    [
        (VISITOR, f"for={VISITOR}", VISITOR),
        # Two that disagree are both ignored, and an empty one says nothing.
        (VISITOR, f"for={FORGED}", PROXY),
        (FORGED, f"for={VISITOR}", PROXY),
        (VISITOR, "", VISITOR),
    ],
)
def test_two_headers_must_agree(
    x_forwarded_for: str, forwarded: str, address: str
) -> None:
    assert behind_proxy(x_forwarded_for, forwarded=[forwarded]) == address
    # Of a peer that is no proxy, they are not read.
    assert behind_proxy(FORGED, forwarded=[forwarded], peer=VISITOR) == VISITOR


def test_only_the_rightmost_entries_of_a_long_header_are_read() -> None:
    hops = ", ".join(["10.0.0.2"] * MAX_HOPS)

    assert behind_proxy(f"{VISITOR}, {hops}") == VISITOR
    assert behind_proxy(f"{VISITOR}, {hops}, {hops}") == "10.0.0.2"


def test_a_proxy_on_a_unix_socket_is_trusted_when_it_is_named() -> None:
    by_socket = TrustedProxies(["unix:", "10.0.0.0/8"])

    assert client_address(None, [], [f"{VISITOR}, 10.0.0.2"], by_socket) == VISITOR
    assert client_address(None, [], [], by_socket) is None
    assert behind_proxy(FORGED, peer=None) is None


@each(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("::ffff:10.1.2.3", True),
        ("fd12::1", True),
        ("fe80::1", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("172.16.9.9", True),
        ("localhost", False),
        ("", False),
        (None, False),
    ],
)
def test_an_address_is_trusted_by_name_or_by_network(
    address: str | None, trusted: bool
) -> None:
    proxies = ["10.0.0.0/8", "fd00::/8", "192.0.2.1", "::ffff:172.16.0.0/108"]

    assert (address in TrustedProxies(proxies)) is trusted


@each(
    ("proxy", "complaint"),
    [
        ("nginx", "'nginx' is no address and no network"),
        ("10.0.0.5/8", "has host bits set"),
        ("*", "'*' would believe every visitor: name the proxies"),
        ("", "'' is no address"),
    ],
)
def test_a_wrong_proxy_is_refused_with_a_sentence(proxy: str, complaint: str) -> None:
    with pytest.raises(ValueError) as refused:
        TrustedProxies([proxy])

    assert complaint in str(refused.value)


HEADERS = st.lists(
    st.text()
    | st.text('for=";,[]:%._\\ 0123456789abcdef')
    | st.ip_addresses().map(str)
    | st.ip_addresses().map(lambda address: f'for="[{address}]:80"'),
    max_size=4,
)


@given(st.none() | st.text() | st.ip_addresses().map(str), HEADERS, HEADERS)
@example("::%\ud800", ["for=::%\ud800"], ["\ud800"])
def test_no_header_raises_and_every_answer_is_an_address(
    peer: str | None, forwarded: list[str], x_forwarded_for: list[str]
) -> None:
    all_proxies = TrustedProxies(["unix:", "0.0.0.0/1", "::/1"])

    address = client_address(peer, forwarded, x_forwarded_for, all_proxies)

    assert address is None or str(ip_address(address)) == address


@given(st.lists(st.ip_addresses(v=4).map(str), max_size=5))
def test_whatever_the_visitor_sends_the_proxys_entry_is_the_answer(
    forged: list[str],
) -> None:
    assert behind_proxy(", ".join([*forged, VISITOR])) == VISITOR
    chain = [f"for={address}" for address in [*forged, VISITOR]]
    assert behind_proxy(forwarded=chain) == VISITOR
