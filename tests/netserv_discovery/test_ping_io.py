import socket
from random import SystemRandom

import pytest
import trio

from mdht.signing import SigningKey
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.ping import Outcome, PingerConfig, Responder, Target
from netserv_discovery.ping_io import open_ping_server, open_pings, open_sockets

QUICK = PingerConfig(again_s=0.05, timeout_s=0.2)


def responder(key: SigningKey) -> Responder:
    return Responder(key, SystemRandom(), trio.current_time())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_node_that_is_there_answers_with_its_load(host: str) -> None:
    key = SigningKey.generate()

    async def main() -> None:
        async with open_ping_server(responder(key)) as server, open_pings(QUICK) as pings:
            server.responder.load = 7
            target = Target(key.public_key, (host, server.port))
            measured = (await pings.measure([target]))[target]
            assert (measured.outcome, measured.load) == (Outcome.ANSWERED, 7)
            assert 0 < measured.rtt_s < 0.2

    trio.run(main)


def test_many_are_asked_side_by_side_and_told_apart() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()

    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            async with open_ping_server(responder(key)) as server, open_pings(QUICK) as pings:
                there = Target(key.public_key, ("127.0.0.1", server.port))
                false = Target(other.public_key, ("127.0.0.1", server.port))
                mute = Target(key.public_key, silent.getsockname())
                nowhere = Target(key.public_key, ("127.0.0.1", 1))
                found = await pings.measure([there, false, mute, nowhere])
                assert {each: measured.outcome for each, measured in found.items()} == {
                    there: Outcome.ANSWERED,
                    false: Outcome.WRONG_KEY,
                    mute: Outcome.SILENT,
                    nowhere: Outcome.SILENT,
                }

    trio.run(main)


def test_a_port_that_is_in_use_is_named() -> None:
    sockets = open_sockets()
    try:
        with pytest.raises(LocalProtocolError, match=f"UDP port {sockets.port}: Address already in use"):
            open_sockets(sockets.port)
    finally:
        sockets.close()


def test_a_datagram_that_is_none_of_ours_is_counted_and_not_answered() -> None:
    key = SigningKey.generate()

    async def main() -> None:
        async with open_ping_server(responder(key)) as server, open_pings(QUICK) as pings:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                for data in (b"", b"x" * 600, b"NSpg"):
                    stranger.sendto(data, ("127.0.0.1", server.port))
            target = Target(key.public_key, ("127.0.0.1", server.port))
            assert (await pings.measure([target]))[target].outcome is Outcome.ANSWERED
            assert server.responder.counters["refused_malformed"] == 3

    trio.run(main)
