from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.nslp import values
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.headers import RULES
from netserv.signaling.nslp.values import Dependency, Flow, ModuleRef

GOOD = [
    (values.read_dependencies, "a,b-c.d>=1.2", (Dependency("a"), Dependency("b-c.d", "1.2"))),
    (values.read_ports, "53,5060", (53, 5060)),
    (values.read_protocol, "udp", "udp"),
    (values.read_prefix, "10.0.0.0/8", ip_network("10.0.0.0/8")),
    (values.read_prefix, "10.0.0.1", ip_network("10.0.0.1/32")),
    (values.read_prefix, "2001:db8::/32", ip_network("2001:db8::/32")),
    (values.read_url, "https://example.com:8443/a?b=c", "https://example.com:8443/a?b=c"),
    (values.read_word, "alice@example.com", "alice@example.com"),
    (values.read_items, "status,blocks", ("status", "blocks")),
    (values.read_properties, "ip=1.2.3.4,x=,y=a=b", (("ip", "1.2.3.4"), ("x", ""), ("y", "a=b"))),
    (values.read_ttl, "86400", 86_400),
    (values.read_expires, "1800000000", 1_800_000_000),
    (values.read_digest, "sha256:" + "0a" * 32, b"\x0a" * 32),
    (values.read_nonce, "0A" * 16, b"\x0a" * 16),
    (values.read_flow, "10.0.0.1>10.0.1.2", Flow(bytes([10, 0, 0, 1]), bytes([10, 0, 1, 2]))),
    (values.read_flow, "::1>2001:db8::2", Flow(bytes(15) + b"\1", b"\x20\1\x0d\xb8" + bytes(11) + b"\2")),
    (values.read_session, "long", True),
    (values.read_session, "short", False),
    (values.read_signature, "A" * 85 + "Q==", None),
]
BAD = [
    (values.read_dependencies, ["a,", "a,a", ">=1", "a>=", "a>=x", "a>=1.2.3.4.5", "ä", "a b", ",".join("a" * 33)]),
    (values.read_ports, ["0", "65536", "53,53", "x", "53,", "-1", "1" * 13, "५"]),
    (values.read_protocol, ["", "UDP", "17", "icmp"]),
    (values.read_prefix, ["", "10.0.0.1/8", "10.0.0.0/33", "x", "10.0.0.0/8/8"]),
    (values.read_url, ["", "ftp://a/", "http://", "http:///x", "//a", "http://a b/", "http://ü/", "http://a:99999/"]),
    (values.read_url, ["http://[", "http://a/" + "x" * 2048]),
    (values.read_word, ["", "a b", "-a", "a" * 65, "ä", "a,b", "a/b"]),
    (values.read_items, ["", "a,a", "A", "1", "a,", "a" * 33]),
    (values.read_properties, ["a", "=x", "a=1,a=2", "a=1,", "a b=1"]),
    (values.read_ttl, ["0", "00", "-1", "1.5", "", "1" * 13, "٣"]),
    (values.read_digest, ["sha1:" + "0" * 40, "sha256:", "sha256:" + "0" * 63, "sha256:" + "g" * 64, "0" * 64]),
    (values.read_nonce, ["", "0" * 31, "0" * 33, "x" * 32, " " + "0" * 31]),
    (values.read_flow, ["", "10.0.0.1", "10.0.0.1>", ">10.0.0.1", "10.0.0.1>::1", "a>b", "1>2>3"]),
    (values.read_flow, ["fe80::1%eth0>fe80::2"]),
    (values.read_password, ["", "x" * 129]),
    (values.read_session, ["", "Long", "yes"]),
    # The last one decodes to the same 64 bytes as a proper one: base64 has spare bits, which must be 0.
    (values.read_signature, ["", "A" * 88, "A" * 85 + "Q=", "A" * 84 + "====", "ä" * 88, "A" * 85 + "R=="]),
]  # fmt: skip


@pytest.mark.parametrize(("read", "text", "value"), GOOD)
def test_values_are_read(read: Callable[[str], object], text: str, value: object) -> None:
    if value is not None:
        assert read(text) == value
    else:
        assert len(read(text)) == 64


@pytest.mark.parametrize(("read", "text"), [(read, text) for read, texts in BAD for text in texts])
def test_what_a_header_cannot_have_is_refused(read: Callable[[str], object], text: str) -> None:
    with pytest.raises(NslpError):
        read(text)


@given(st.sampled_from(sorted(RULES)), st.text(max_size=60))
def test_any_text_is_read_or_refused_and_written_back_as_the_same_value(name: str, text: str) -> None:
    rule = RULES[name]
    with suppress(NslpError):
        value = rule.read(text)
        assert rule.read(rule.write(value)) == value


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("NetServ.apps.NetMonitor_1.0.0", "NetServ.apps.NetMonitor", "1.0.0"),
        ("a_b_2", "a_b", "2"),
        ("x-y_10.20.30.40", "x-y", "10.20.30.40"),
    ],
)
def test_a_module_is_name_and_version(text: str, name: str, version: str) -> None:
    assert ModuleRef.read(text) == ModuleRef(name, version)
    assert str(ModuleRef.read(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "_1",
        "a_",
        "a_x",
        "a_1.",
        "a__1",
        ".a_1",
        "a..b_1",
        "1a_1",
        "a_1.2.3.4.5",
        "a/b_1",
        "*",
        "a" * 129 + "_1",
    ],
)
def test_what_is_no_module_is_refused(text: str) -> None:
    with pytest.raises(NslpError):
        ModuleRef.read(text)


def test_versions_compare_as_numbers() -> None:
    assert values.version_numbers("1.10") > values.version_numbers("1.9.9")
    assert values.version_numbers("1.0") == values.version_numbers("1")


def test_a_flow_has_two_addresses_of_one_family() -> None:
    with pytest.raises(NslpError):
        Flow(bytes(4), bytes(16))
    with pytest.raises(NslpError):
        Flow(bytes(5), bytes(5))
    assert Flow(bytes(4), b"\1\1\1\1").swapped() == Flow(b"\1\1\1\1", bytes(4))
