import secrets
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
import zeroconf

from dhtboot.wire import network_tag
from mdht.zeroconf_io import SERVICE_TYPE, Peer, _peer, open_presence

pytestmark = pytest.mark.loopback

TAG = network_tag("lab").hex()
NODE = "ab" * 20


def info(**changes: object) -> zeroconf.ServiceInfo:
    settings: dict[str, object] = {
        "type_": SERVICE_TYPE,
        "name": f"{NODE[:16]}.{SERVICE_TYPE}",
        "port": 27183,
        "properties": {"v": "1", "ov": TAG, "id": NODE},
        "parsed_addresses": ["2001:db8::1", "192.0.2.9", "fe80::1", "192.0.2.1"],
        **changes,
    }
    return zeroconf.ServiceInfo(**settings)


def test_an_instance_is_read_with_its_addresses_in_order() -> None:
    assert _peer(info(), TAG) == Peer(
        kind="found", node=NODE, addresses=(("192.0.2.1", 27183), ("192.0.2.9", 27183), ("2001:db8::1", 27183))
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"properties": {"v": "2", "ov": TAG, "id": NODE}},
        {"properties": {"v": "1", "ov": network_tag("other").hex(), "id": NODE}},
        {"properties": {"v": "1", "ov": TAG, "id": NODE.upper()}},
        {"properties": {"v": "1", "ov": TAG, "id": NODE + "\n"}},
        {"properties": {"v": "1", "ov": TAG}},
        {"properties": {b"v": b"\xff\xfe", b"id": None}},
        {"properties": {}},
        {"port": 0},
        {"parsed_addresses": ["fe80::1"]},
        {"parsed_addresses": []},
    ],
)
def test_what_no_node_of_ours_announces_is_ignored(changes: dict[str, object]) -> None:
    assert _peer(info(**changes), TAG) is None


def within(seconds: float, body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(seconds):
            await body()

    trio.run(main)


def test_two_nodes_of_one_host_find_each_other_and_hear_the_goodbye() -> None:
    network = secrets.token_hex(8)
    one, two, stranger = (secrets.token_bytes(20) for _ in range(3))

    async def body() -> None:
        async with (
            open_presence(interface="lo", node=stranger, port=4003, network="other"),
            open_presence(interface="lo", node=one, port=4001, network=network) as heard_by_one,
        ):
            async with open_presence(interface="lo", node=two, port=4002, network=network) as heard_by_two:
                found = await heard_by_one.receive()
                assert found == Peer(kind="found", node=two.hex(), addresses=(("127.0.0.1", 4002),))
                assert (await heard_by_two.receive()).node == one.hex()
            assert await heard_by_one.receive() == Peer(kind="lost", node=two.hex(), addresses=found.addresses)

    within(20, body)


DOWN_AND_UP = """
import logging, subprocess, trio
from mdht import zeroconf_io
logging.basicConfig(format="%(message)s")
zeroconf_io.LINK_CHECK_S = 0.2

def link(state):
    subprocess.run(["ip", "link", "set", "lab0", state], check=True)

async def main():
    present = zeroconf_io.open_presence
    async with (
        present(interface="lab0", node=bytes(20), port=4001, network="lab") as heard,
        present(interface="lab0", node=bytes([1]) * 20, port=4002, network="lab"),
    ):
        for state in ("down", "up", None):
            peer = await heard.receive()
            print(peer.kind, peer.addresses, flush=True)
            if state:
                link(state)

async def limited():
    with trio.fail_after(30):
        await main()
trio.run(limited)
"""


def test_an_interface_that_goes_down_and_up_is_taken_up_again() -> None:
    setup = "ip link add lab0 type bridge; ip address add 192.0.2.1/24 dev lab0; ip link set lab0 up"
    isolate = ["unshare", "--user", "--map-root-user", "--net", "sh", "-ec", f'{setup}; exec "$0" -c "$1"']
    done = subprocess.run([*isolate, sys.executable, DOWN_AND_UP], check=False, capture_output=True, text=True)
    if "unshare" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    where = "(('192.0.2.1', 4002),)"
    assert done.stdout.splitlines() == [f"found {where}", f"lost {where}", f"found {where}"], done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_interface_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        async with open_presence(interface="nope0", node=bytes(20), port=1, network="x") as heard:
            with trio.move_on_after(0.5):
                await heard.receive()

    within(10, body)
    assert "not present on nope0: no interface 'nope0'" in caplog.text
