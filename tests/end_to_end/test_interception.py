"""Catching on a path of sender, plain router, node, plain router, receiver: only the node runs anything."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.catching import PROGRAM, QUERY, Path5, Talker, start, unique
from tests.end_to_end.sites import PATIENCE_S, laboratory
from tools.netlab import Host
from tools.netlab_chain import chain

pytestmark = pytest.mark.lab
METHODS = pytest.mark.parametrize("method", ["tproxy", "nfqueue"])
ADDED = "01020304"


@pytest.fixture(scope="module")
def path() -> Iterator[Path5]:
    with laboratory() as lab:
        sender, _, node, other, receiver = chain(lab, "sender", "plain1", "node", "plain2", "receiver")
        talker = start(sender, "none", talks=True)
        yield Path5(sender, node, other, receiver, talker, start(receiver, "none"))
        assert talker.process.stdin is not None
        talker.process.stdin.close()


def payloads(talker: Talker, event: str) -> list[str]:
    return [each["payload"] for each in talker.events(event)]


@METHODS
def test_what_passes_is_caught_and_goes_on_with_its_header_and_another_payload(path: Path5, method: str) -> None:
    node = start(path.node, method, "--append", ADDED)
    sent = unique(1 if method == "tproxy" else 2)
    ends = {
        4: (path.sender_host.ipv4, path.receiver_host.ipv4, "10.1.0.77"),
        6: (path.sender_host.ipv6, path.receiver_host.ipv6, "2001:db8:1::77"),
    }
    for _, receiver, foreign in ends.values():
        path.query(sent, receiver, dscp=10, router_alert=True)
        path.query(sent, receiver, source=foreign, router_alert=True, ip_ttl=33)
        path.query(sent, receiver, source=foreign)
    expected = set()
    for version, (sender, receiver, foreign) in ends.items():
        name = "{}:270" if version == 4 else "[{}]:270"
        expected |= {
            (name.format(sender), name.format(receiver), 43, 10, True),
            (name.format(foreign), name.format(receiver), 32, 0, True),
            (name.format(foreign), name.format(receiver), 43, 0, False),
        }
    caught = node.wait("caught", 6, payload=sent, in_transit=True)
    keys = ("source", "destination", "ttl", "dscp", "router_alert")
    assert {tuple(each[key] for key in keys) for each in caught} == expected
    index = path.node.run("cat", "/sys/class/net/eth0/ifindex").stdout
    assert {each["interface"] for each in caught} == {int(index)}
    received = path.receiver.wait("received", 6, payload=sent + ADDED)
    later = {(source, destination, ttl - 2, *rest) for source, destination, ttl, *rest in expected}
    assert {tuple(each[key] for key in keys) for each in received} == later


@METHODS
def test_of_the_headers_only_ttl_and_lengths_change(path: Path5, method: str) -> None:
    start(path.node, method, "--append", ADDED)
    sent = unique(3 if method == "tproxy" else 4)
    subnets = list(path.node.interfaces.values())
    captures = [subnet.capture("udp port 270 or (ip6 and not icmp6)") for subnet in subnets]
    ends = {4: (path.sender_host.ipv4, path.receiver_host.ipv4), 6: (path.sender_host.ipv6, path.receiver_host.ipv6)}
    for version, (source, destination) in ends.items():
        # DSCP and ECN; a no-operation in front of the Router Alert; a flow label.
        header = {"ttl": 20, "tos": 0x2A, "flow_label": 0 if version == 4 else 0x12345}
        options = "0101010194040000" if version == 4 else ""
        path.sender.tell(do="raw", source=source, destination=destination, payload=sent, header=header, options=options)
    path.receiver.wait("received", 2, payload=sent + ADDED)
    same = ("ip.src", "ip.dst", "ip.dsfield", "ip.flags.df", "ip.opt.type", "ip.hdr_len", "udp.srcport", "udp.dstport")
    same += ("ipv6.src", "ipv6.dst", "ipv6.tclass", "ipv6.flow")
    before, after = (
        capture.rows("udp.port == 270", "ip.ttl", "ipv6.hlim", "udp.payload", *same) for capture in captures
    )
    assert sorted(row[3:] for row in before) == sorted(row[3:] for row in after)
    assert sorted(row[:3] for row in before) == [("", "19", sent), ("19", "", sent)]
    assert sorted(row[:3] for row in after) == [("", "18", sent + ADDED), ("18", "", sent + ADDED)]


def test_a_broken_datagram_is_not_mended(path: Path5) -> None:
    node = start(path.node, "nfqueue")
    header = {"ttl": 20, "tos": 0}
    for source, destination in ((path.sender_host.ipv4, path.receiver_host.ipv4), ("2001:db8:1::9", "2001:db8:4::2")):
        path.sender.tell(
            do="raw", source=source, destination=destination, payload=unique(17), header=header, spoilt=True
        )
    path.query(unique(18))
    path.query(unique(18), path.receiver_host.ipv6)
    node.wait("caught", 2, payload=unique(18))
    node.process.terminate()
    (counters,) = node.wait("counters")
    assert counters["interceptor"] == {"strange": 2, "caught": 2, "forwarded": 2}


@METHODS
def test_what_is_not_for_this_node_passes_untouched(path: Path5, method: str) -> None:
    node = start(path.node, method, "--append", ADDED)
    number = 0x100 if method == "tproxy" else 0x200
    strange = {
        "no magic": "4e04bda6" + QUERY[8:-8],
        "another NSLPID": QUERY.replace("7fc0", "7fc1")[:-8],
        "not context-free": QUERY.replace("7fc080", "7fc000")[:-8],
        "short": "4e04bda5",
    }
    sent = [text + (number + at).to_bytes(4).hex() for at, text in enumerate(strange.values())]
    for receiver in (path.receiver_host.ipv4, path.receiver_host.ipv6):
        for payload in sent:
            path.query(payload, receiver)
            path.query(payload, receiver, router_alert=True)
    for payload in sent:
        path.receiver.wait("received", 4, payload=payload)
    # To another port: the receiver's kernel returns the beginning of what has reached it.
    marked = unique(number)
    path.sender.tell(do="datagram", to=path.receiver_host.ipv4, port=271, payload=marked, ttl=44)
    path.sender.wait("unreachable", quoted=marked)
    assert not node.events("caught")


@METHODS
def test_what_the_node_itself_sends_is_not_caught(path: Path5, method: str) -> None:
    node = start(path.node, method, talks=True)
    sent = unique(20 if method == "tproxy" else 21)
    ends = {path.receiver_host.ipv4: path.sender_host.ipv4, path.receiver_host.ipv6: path.sender_host.ipv6}
    for receiver, foreign in ends.items():
        for source in (None, foreign):
            order = {"ip_ttl": 9, "dscp": 0, "router_alert": True, "source": source}
            node.tell(do="flow", payload=sent, destination=receiver, **order)
    received = path.receiver.wait("received", 4, payload=sent)
    assert {each["ttl"] for each in received} == {8}
    assert not node.events("caught")
    assert node.process.stdin is not None
    node.process.stdin.close()


def test_packets_for_the_node_itself_come_to_its_own_port(path: Path5) -> None:
    node = start(path.node, "tproxy")
    own = [str(address.ip) for address in path.node.addresses["eth1"]]  # the far one: it goes through PREROUTING too
    for address in own:
        path.query(unique(5), address)
    assert len(node.wait("received", 2, payload=unique(5), in_transit=False)) == 2
    assert not node.events("caught")


@METHODS
def test_a_discarded_packet_goes_no_further(path: Path5, method: str) -> None:
    node = start(path.node, method, "--discard")
    number = 6 if method == "tproxy" else 7
    path.query(unique(number))
    path.query("4e04bda6" + unique(number)[8:])  # follows it on the same way, uncaught
    node.wait("caught", payload=unique(number))
    path.receiver.wait("received", payload="4e04bda6" + unique(number)[8:])
    assert unique(number) not in payloads(path.receiver, "received")


@METHODS
def test_a_packet_whose_ttl_ends_here_is_caught_and_does_not_go_on(path: Path5, method: str) -> None:
    node = start(path.node, method)
    number = 8 if method == "tproxy" else 9
    path.query(unique(number), ip_ttl=2)  # the plain router takes one
    path.query("4e04bda6" + unique(number)[8:])
    node.wait("caught", payload=unique(number), ttl=1)
    path.receiver.wait("received", payload="4e04bda6" + unique(number)[8:])
    assert unique(number) not in payloads(path.receiver, "received")


def test_a_destination_without_a_node_says_port_unreachable_with_the_cookie(path: Path5) -> None:
    start(path.node, "tproxy")
    marked = QUERY + "ab" * 100 + "c0" * 16
    for address in (str(each.ip) for each in path.other.addresses["eth0"]):
        path.query(marked, address)
        (found,) = path.sender.wait("unreachable", destination=address)
        assert found["quoted"] == marked
    path.query(unique(10))  # and the port works on
    path.receiver.wait("received", payload=unique(10))


@METHODS
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, "FAIL", "STOP"])
def test_every_rule_is_gone_at_the_end(path: Path5, method: str, end: signal.Signals | str) -> None:
    node = start(path.node, method)
    assert "NETSERV-GIST" in path.rules()
    if isinstance(end, str):
        path.query(unique(11) + end.encode().hex())  # an exception of the program, or a cancellation from around it
    else:
        node.process.send_signal(end)
    assert node.process.wait(PATIENCE_S) == {signal.SIGTERM: 0, signal.SIGINT: 130, "FAIL": 3, "STOP": 0}[end]
    assert path.rules() == ""


@METHODS
def test_after_a_kill_packets_pass_and_the_next_start_cleans_up(path: Path5, method: str) -> None:
    killed = start(path.node, method)
    killed.process.kill()
    killed.process.wait()
    left = path.rules()
    assert "NETSERV-GIST" in left
    number = 12 if method == "tproxy" else 13
    for receiver in (path.receiver_host.ipv4, path.receiver_host.ipv6):
        path.query(unique(number), receiver)
    path.receiver.wait("received", 2, payload=unique(number))
    after = start(path.node, "nfqueue" if method == "tproxy" else "tproxy")
    assert f"pid {killed.process.pid} " not in path.rules()
    after.process.stop()
    assert path.rules() == ""


def test_one_node_per_machine_and_the_second_is_told_who_the_first_is(path: Path5) -> None:
    first = start(path.node, "tproxy")
    second = path.node.run(sys.executable, PROGRAM, "auto", "--port", "0", check=False)
    assert second.returncode == 1
    assert f"process {first.process.pid} (" in second.stderr
    assert "catcher.py tproxy" in second.stderr
    neighbour = start(path.other, "auto")  # in another namespace
    path.query(unique(14))
    for node in (first, neighbour):
        node.wait("caught", payload=unique(14))
    neighbour.process.stop()
    path.query(unique(15))
    first.wait("caught", payload=unique(15))


def test_auto_takes_tproxy_and_where_that_cannot_work_nfqueue(path: Path5) -> None:
    first = start(path.node, "auto")
    assert first.events("ready")[0]["method"] == "tproxy"
    assert first.events("ready")[0]["families"] == [4, 6]
    first.process.stop()
    setting = "/proc/sys/net/ipv4/conf/all/src_valid_mark"
    path.node.run("sh", "-c", f"echo 1 > {setting}; echo 0 > /proc/sys/net/ipv4/ip_forward")
    try:
        second = start(path.node, "auto")
    finally:
        path.node.run("sh", "-c", f"echo 0 > {setting}; echo 1 > /proc/sys/net/ipv4/ip_forward")
    (ready,) = second.events("ready")
    assert ready["method"] == "nfqueue"
    assert any("does not forward IPv4" in each for each in ready["warnings"])


def lacking(host: Host, name: str, *words: str) -> dict[str, str]:
    """An environment in which restoring rules that have one of these words fails, as on a kernel without them."""
    directory = host.directory / f"without-{name}"
    directory.mkdir()
    for program in ("iptables-restore", "ip6tables-restore"):
        real = host.run("sh", "-c", f"command -v {program}").stdout.strip()
        patterns = " ".join(f"-e {word}" for word in words)
        script = f"""#!/bin/sh
text=$(cat)
if printf '%s' "{program} $text" | grep -q {patterns}; then echo 'Extension revision 0 not supported' >&2; exit 2; fi
printf '%s\n' "$text" | {real} "$@"
"""
        (directory / program).write_text(script)
        (directory / program).chmod(0o755)
    return {"PATH": f"{directory}:{host.environment['PATH']}"}


def test_what_a_kernel_does_not_give_is_said_and_the_rest_is_used(path: Path5) -> None:
    def ready(name: str, *words: str) -> dict[str, Any]:
        process = path.node.popen(sys.executable, PROGRAM, "auto", env=lacking(path.node, name, *words))
        process.wait_for('"ready"')
        process.stop()
        assert path.rules() == ""
        return Talker(process).events("ready")[0]

    without6 = ready("six", "^ip6tables")
    assert (without6["method"], without6["families"]) == ("tproxy", [4])
    assert "IPv6 is not caught: ip6tables-restore" in without6["warnings"][0]
    assert ready("tproxy", "TPROXY")["method"] == "nfqueue"
    assert ready("limits", "hashlimit")["method"] == "tproxy"
    refused = path.node.run(
        sys.executable, PROGRAM, "auto", check=False, env=lacking(path.node, "both", "TPROXY", "NFQUEUE")
    )
    assert refused.returncode == 1
    assert refused.stderr.count("Extension revision 0 not supported") == 2
    assert path.rules() == ""


def test_a_foreign_routing_table_is_left_alone(path: Path5) -> None:
    path.node.run("ip", "route", "add", "unreachable", "192.0.2.0/24", "table", "270")
    try:
        refused = path.node.run(sys.executable, PROGRAM, "tproxy", check=False)
        assert refused.returncode == 1
        assert "routing table 270 is in use" in refused.stderr
        assert "NETSERV" not in path.rules()
        assert "192.0.2.0/24" in path.rules()
    finally:
        path.node.run("ip", "route", "flush", "table", "270")


def test_a_changed_route_is_told_and_the_old_answer_forgotten(path: Path5) -> None:
    path.sender.tell(do="route", to="192.0.2.1")
    (before,) = path.sender.wait("route")
    assert before["way"]["next_hop"] == "10.1.0.1"
    told = len(path.sender.events("changed"))
    path.sender_host.run("ip", "route", "add", "192.0.2.0/24", "via", "10.1.0.9", "mtu", "1000")
    try:
        assert path.sender.wait("changed", told + 1)[-1]["destinations"] == ["192.0.2.1"]
        path.sender.tell(do="route", to="192.0.2.1")
        after = path.sender.wait("route", 2)[1]["way"]
        assert (after["next_hop"], after["mtu"], after["address"]) == ("10.1.0.9", 1000, path.sender_host.ipv4)
    finally:
        path.sender_host.run("ip", "route", "del", "192.0.2.0/24")


def test_without_privileges_an_end_host_works_and_a_node_is_told_what_it_lacks(path: Path5) -> None:
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, PROGRAM]
    refused = path.node.run(*bare, "auto", check=False)
    assert refused.returncode == 1
    assert "CAP_NET_BIND_SERVICE" in refused.stderr
    node = path.node.run(*bare, "auto", "--port", "0", check=False)
    assert node.returncode == 1
    assert "tproxy: " in node.stderr
    assert "nfqueue: " in node.stderr
    assert "CAP_NET_ADMIN" in node.stderr
    process = path.node.popen(*bare, "none", "--port", "0", stdin=subprocess.PIPE)
    process.wait_for('"ready"')
    end_host = Talker(process)
    order = {"payload": unique(16), "ip_ttl": 9, "dscp": 46, "router_alert": True}
    end_host.tell(do="flow", destination=path.receiver_host.ipv4, **order)
    (found,) = path.receiver.wait("received", payload=unique(16))
    assert (found["ttl"], found["dscp"], found["router_alert"]) == (8, 46, True)
    assert process.stdin is not None
    process.stdin.close()


def test_a_change_counts_though_nobody_waits_for_it(path: Path5) -> None:
    script = """if True:
        import os, sys, time
        from netserv.signaling.gist.addresses import address_text, packed
        from netserv.signaling.transport.topology import LOOK_S, KernelTopology
        with KernelTopology() as topology:
            for command in sys.argv[1:]:
                way = topology.outgoing(packed("192.0.2.1"))
                belongs = topology.may_come_from(packed("192.0.2.0"), 24, way.interface)
                print(way.next_hop and address_text(way.next_hop), topology.is_own(packed("10.9.9.9")), belongs)
                os.system(command)
                time.sleep(LOOK_S)
    """
    route = "ip route {} 192.0.2.0/25 {}"
    commands = [
        route.format("add", "via 10.1.0.9"),
        "ip address add 10.9.9.9/32 dev lo",
        route.format("replace", "dev lo"),
        route.format("del", "dev lo") + "; ip address del 10.9.9.9/32 dev lo",
        "true",
    ]
    said = path.sender_host.run(sys.executable, "-c", script, *commands).stdout.splitlines()
    assert said == [
        "10.1.0.1 False True",
        "10.1.0.9 False True",
        "10.1.0.9 True True",
        "None True False",
        "10.1.0.1 False True",
    ]
