"""The rules in words, and their u32 tests worked out as the kernel does (xt_u32.c), on real packets."""

import re
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from netserv.signaling.transport.intercept import InterceptConfig
from netserv.signaling.transport.packet import ROUTER_ALERT4, ROUTER_ALERT6, build
from netserv.signaling.transport.rules import (
    ClaimedError,
    Record,
    claim,
    nfqueue_rules,
    read_record,
    tproxy_rules,
    u32_tests,
)
from tests.netserv.signaling.transport.ip_packets import PACKETS

MAGIC = bytes.fromhex("4e04bda5")


def u32(test: str, packet: bytes) -> bool:
    """Whether a packet passes a test, in the words of iptables-extensions(8)."""
    return all(_part(part, packet) for part in test.split("&&"))


def _part(part: str, packet: bytes) -> bool:
    location, _, ranges = part.partition("=")
    first, *rest = re.findall(r"(?:>>|<<|&|@)?(?:0x[0-9A-Fa-f]+|\d+)", location)
    at, base = int(first, 0), 0

    def word(where: int) -> int | None:
        return int.from_bytes(packet[where : where + 4]) if where + 4 <= len(packet) else None

    value = word(at)
    for operation in rest:
        if value is None:
            return False
        sign, number = re.fullmatch(r"(>>|<<|&|@)(.+)", operation).groups()  # type: ignore[union-attr]
        operand = int(number, 0)
        match sign:
            case ">>":
                value >>= operand
            case "<<":
                value = value << operand & 0xFFFFFFFF
            case "&":
                value &= operand
            case _:
                base += value
                value = word(base + operand)
    if value is None:
        return False
    for each in ranges.split(","):
        low, _, high = each.partition(":")
        if int(low, 0) <= value <= int(high or low, 0):
            return True
    return False


def test_the_interpreter_reads_as_the_manual_says() -> None:
    packet = build((bytes(4), 1), (bytes(4), 2), b"\1\2\3\4", ttl=9, options=ROUTER_ALERT4)
    assert u32("6&0xFF=17", packet)
    assert u32("5&0xFF=0:9", packet)
    assert u32("0>>22&0x3C@8=0x1020304", packet)
    assert not u32("0>>22&0x3C@8=0x1020305", packet)
    assert not u32("0>>22&0x3C@12=0", packet)


HEADS = st.tuples(
    st.sampled_from([MAGIC, MAGIC[:3] + b"\0", b""]),
    st.binary(min_size=4, max_size=4),
    st.sampled_from([32704, 32705, 33, 0, 0xFFFF]),
    st.integers(0, 255),
    st.binary(max_size=8),
)


@given(PACKETS, HEADS, st.lists(st.sampled_from([32704, 33, 0xFFFF]), min_size=1, max_size=3, unique=True))
@example(((bytes(4), 1), (bytes(4), 270), b"", {"ttl": 1}), (MAGIC, bytes(4), 33, 0x80, b""), [33])
def test_the_filter_passes_exactly_context_free_messages_of_the_hosted_applications(
    parts: Any, head: tuple[bytes, bytes, int, int, bytes], hosted: list[int]
) -> None:
    source, destination, _, header = parts
    magic, first, nslp_id, kind, rest = head
    # All that this filter needs of IPv6 is the header itself or a hop-by-hop header of 8 bytes, which is what there is.
    payload = magic + first + nslp_id.to_bytes(2) + bytes([kind, 0x40]) + rest
    whole = build(source, destination, payload, **header)
    version = 4 if len(source[0]) == 4 else 6
    wanted = magic == MAGIC and nslp_id in hosted and bool(kind & 0x80)
    assume(magic or payload[:4] != MAGIC)
    assert any(u32(test, whole) for test in u32_tests(version, hosted)) is wanted


@given(st.integers(0, 15))
def test_a_message_that_is_cut_off_does_not_pass(size: int) -> None:
    payload = (MAGIC + bytes.fromhex("012000007fc08040"))[: min(size, 11)]
    for ends, version, options in (
        (((bytes(4), 1), (bytes(4), 270)), 4, b""),
        (((bytes(16), 1), (bytes(16), 270)), 6, ROUTER_ALERT6),
    ):
        whole = build(*ends, payload, ttl=3, options=options)
        assert not any(u32(test, whole) for test in u32_tests(version, [32704]))


@pytest.mark.parametrize("version", [4, 6])
def test_the_record_is_found_in_what_iptables_lists(version: int) -> None:
    config = InterceptConfig(table=300, mark=0x10)
    for family, method in (
        (tproxy_rules(version, config, 5000, pid=77), "tproxy"),
        (nfqueue_rules(version, config, pid=77), "nfqueue"),
    ):
        assert family.routed is (method == "tproxy")
        for rule in family.rules:
            assert read_record(f"-A NETSERV-GIST {rule}") == Record(method, 77, 300, 0x10)
    assert read_record("-A PREROUTING -j ACCEPT") is None


def test_only_one_claims_the_catching_of_a_network_namespace() -> None:
    with claim(), pytest.raises(ClaimedError, match="stop that one first"), claim():
        pass
    with claim():
        pass
