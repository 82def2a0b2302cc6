from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError, UnreachableError
from mdht.rendezvous import EntryPoint, SrvTarget, parse, resolve, srv_order

ZONE = {
    ("_mdht._udp.example.org.", "SRV"): ["20 0 9999 late.example.org.", "10 5 27183 one.example.org."],
    ("one.example.org.", "A"): ["198.51.100.1", "198.51.100.2"],
    ("one.example.org.", "AAAA"): ["2001:db8::1"],
    ("late.example.org.", "A"): ["198.51.100.9"],
    ("_mdht._udp.closed.example.org.", "SRV"): ["0 0 0 ."],
    ("_mdht._udp.dangling.example.org.", "SRV"): ["0 0 27183 nowhere.example.org."],
}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("198.51.100.1:4000", "198.51.100.1", 4000),
        ("198.51.100.1", "198.51.100.1", None),
        ("[2001:DB8:0::1]:4000", "2001:db8::1", 4000),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("2001:db8::1", "2001:db8::1", None),
        (" Example.ORG. ", "example.org", None),
        ("peer_1.lab:65535", "peer_1.lab", 65535),
        ("bücher.example", "bücher.example", None),
    ],
)
def test_entry_points_are_read(text: str, host: str, port: int | None) -> None:
    assert parse(text) == EntryPoint(host, port)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no such host name"),
        ("host:", "port '' is not within"),
        ("host:0", "port '0' is not within"),
        ("host:65536", "port '65536' is not within"),
        ("host:-1", "port '-1' is not within"),
        ("host:٣", "port '٣' is not within"),
        ("[2001:db8::1", "brackets hold"),
        ("[2001:db8::1]27183", "brackets hold"),
        ("[host]:1", "brackets hold"),
        ("2001:db8::g", "no such host name"),
        ("[fe80::1%eth0]:1", "a link-local address"),
        ("198.51.100.256", "four numbers"),
        ("a..b", "no such host name"),
        ("-a.b", "no such host name"),
        ("a" * 64, "no such host name"),
        ("a b", "no such host name"),
        ("http://example.org", "port '//example.org'"),
    ],
)
def test_other_texts_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        parse(text)
    assert reason in str(caught.value)
    assert "expected HOST:PORT" in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=300) | st.text(alphabet="[]:.%ab12f-_", max_size=30))
def test_any_text_is_read_or_refused_and_reads_the_same_again(text: str) -> None:
    with suppress(LocalProtocolError):
        entry = parse(text)
        assert parse(str(entry)) == entry


@st.composite
def targets(draw: st.DrawFn) -> list[SrvTarget]:
    weights = draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=12))
    return [
        SrvTarget(priority=priority, weight=weight, port=at, host="h") for at, (priority, weight) in enumerate(weights)
    ]


@given(targets(), st.integers())
def test_order_is_by_priority_and_loses_none(given_targets: list[SrvTarget], seed: int) -> None:
    ordered = srv_order(given_targets, Random(seed))
    assert [target.priority for target in ordered] == sorted(target.priority for target in given_targets)
    assert sorted(target.port for target in ordered) == [target.port for target in given_targets]


def test_first_choice_follows_the_weights() -> None:
    rng = Random(1)
    heavy, light, none = (SrvTarget(priority=0, weight=weight, port=weight, host="h") for weight in (30, 10, 0))
    first = Counter(srv_order([heavy, light, none], rng)[0].weight for _ in range(4_000))
    assert 0.68 < first[30] / 4_000 < 0.78
    assert 0 < first[0] < 0.05 * 4_000


@asynccontextmanager
async def dns_server() -> AsyncIterator[dns.asyncresolver.Resolver]:
    """A name server of the test zone on loopback, and a resolver that asks it."""
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))

        async def serve() -> None:
            while True:
                query, source = await sock.recvfrom(4_096)
                await sock.sendto(answer(query), source)

        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = sock.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield resolver
            nursery.cancel_scope.cancel()


def answer(query: bytes) -> bytes:
    question = dns.message.from_wire(query)
    reply = dns.message.make_response(question)
    reply.flags |= dns.flags.RA
    (asked,) = question.question
    kind = dns.rdatatype.to_text(asked.rdtype)
    records = ZONE.get((asked.name.to_text(), kind))
    if records is not None:
        reply.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, *records))
    elif asked.name.to_text() not in {name for name, _kind in ZONE}:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply.to_wire()


def resolved(text: str) -> tuple[tuple[str, int], ...]:
    async def main() -> tuple[tuple[str, int], ...]:
        async with dns_server() as resolver:
            try:
                return await resolve(text, Random(1), resolver=resolver)
            except UnreachableError as error:
                outcome.append(error)
                return ()

    outcome: list[UnreachableError] = []
    found = trio.run(main)
    if outcome:
        raise outcome[0]
    return found


def test_a_domain_leads_to_its_targets_in_order() -> None:
    first, second, *rest = resolved("Example.org")
    assert {first, second} == {("198.51.100.1", 27183), ("198.51.100.2", 27183)}  # the server shuffles them
    assert rest == [("2001:db8::1", 27183), ("198.51.100.9", 9999)]


def test_a_domain_may_say_that_there_is_none() -> None:
    with pytest.raises(UnreachableError, match=r"closed.example.org says by DNS that it has no entry point"):
        resolved("closed.example.org")


def test_targets_without_address_are_named() -> None:
    with pytest.raises(UnreachableError, match=r"has an address: nowhere.example.org:27183"):
        resolved("dangling.example.org")


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("192.0.2.5:4000", (("192.0.2.5", 4000),)),
        ("192.0.2.5", (("192.0.2.5", 27183),)),
        ("[2001:db8::5]:4000", (("2001:db8::5", 4000),)),
    ],
)
def test_numeric_entry_points_ask_nobody(text: str, addresses: tuple[tuple[str, int], ...]) -> None:
    assert trio.run(resolve, text, Random(1)) == addresses


def test_a_host_without_srv_stands_for_itself() -> None:
    assert ("127.0.0.1", 27183) in resolved("localhost")
    assert ("127.0.0.1", 99) in resolved("localhost:99")


def test_an_unknown_name_is_one_clear_line() -> None:
    with pytest.raises(UnreachableError, match=r"bootstrap no-such-host.invalid: .*check the name"):
        resolved("no-such-host.invalid:27183")
