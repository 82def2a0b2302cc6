"""What tcpdump has written of real sockets: datagrams and an association, on a link between two hosts."""

import argparse
import json
import sys

import pytest

from netserv import cli_dump, cli_dump_options
from netserv.signaling.gist import wire
from tests.end_to_end.sites import laboratory
from tests.netserv.signaling.gist.gist_messages import GOOD, VECTORS

pytestmark = pytest.mark.lab
LISTENER = """
import socket, sys
server = socket.create_server(("::", 4711), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
connection, _ = server.accept()
while connection.recv(4096):
    pass
connection.sendall(bytes.fromhex(sys.argv[1]))
connection.close()
"""
SENDER = """
import socket, sys, time
to, family = sys.argv[1], socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as udp:
    udp.bind(("", 270))
    for payload in sys.argv[3:]:
        udp.sendto(bytes.fromhex(payload), (to, 270))
with socket.create_connection((to, 4711)) as tcp:
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = bytes.fromhex(sys.argv[2])
    for at in range(0, len(stream), 50):
        tcp.sendall(stream[at : at + 50])
        time.sleep(0.005)
    tcp.shutdown(socket.SHUT_WR)
    while tcp.recv(4096):
        pass
"""


@pytest.mark.parametrize("version", [4, 6])
def test_capture_of_tcpdump_has_every_message_that_was_sent(version: int, capsys) -> None:
    datagrams = [VECTORS[name] for name in GOOD if VECTORS[name].transport == "udp"]
    confirm, hello = VECTORS["ka_confirm_tcp"].message, VECTORS["ka_ma_hello_reply_tcp"].message
    with laboratory() as lab:
        link = lab.subnet("link", "10.1.0.0/24", "2001:db8:1::/64")
        sender, listener = lab.host("sender", link), lab.host("listener", link)
        capture = link.capture("udp or tcp")
        process = listener.popen(sys.executable, "-c", LISTENER, hello.hex())
        process.wait_for("ready")
        address = listener.ipv4 if version == 4 else listener.ipv6
        payloads = [datagram.payload_hex for datagram in datagrams]
        sender.run(sys.executable, "-c", SENDER, str(address), (confirm + hello).hex(), *payloads)
        capture.stop()
        parser = argparse.ArgumentParser()
        cli_dump_options.add_arguments(parser)
        assert cli_dump.run(parser.parse_args(["--json", str(capture.path)])) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sent = [wire.header_of(one.message) for one in datagrams] + [wire.header_of(one) for one in (confirm, hello, hello)]
    assert [(one["message"]["bytes"], one["message"]["nslp_id"]) for one in found] == [
        (8 + 4 * header.length_words, header.nslp_id) for header in sent
    ]
    assert all("wrong" not in one for one in found)
    assert [one["transport"] for one in found] == ["UDP"] * len(datagrams) + ["TCP"] * 3
    assert all(str(address) in one["destination"] for one in found[:-1])
