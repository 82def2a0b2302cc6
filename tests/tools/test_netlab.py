import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools import netlab_keeper as keeper
from tools.netlab import Avahi, Host, Lab, LabError, Subnet, wait_until

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class World:
    """Hosts a and b on one subnet, c on another, a router between them, Avahi everywhere."""

    lab: Lab
    one: Subnet
    a: Host
    b: Host
    c: Host
    router: Host
    avahi_a: Avahi
    avahi_b: Avahi
    avahi_c: Avahi


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab() as lab:
        one = lab.subnet("one", "198.51.100.0/24", "2001:db8:1::/64")
        two = lab.subnet("two", "203.0.113.0/24", "2001:db8:2::/64")
        a, b, c = lab.host("a", one), lab.host("b", one), lab.host("c", two)
        router = lab.router("router", one, two)
        avahis = lab.start_avahi(a, b, c)
        yield World(lab, one, a, b, c, router, *avahis)


def reaches(host: Host, address: str | None) -> bool:
    assert address is not None
    return host.run("ping", "-c1", "-W1", address, check=False).returncode == 0


def traces(directory: Path) -> list[str]:
    left = [str(pid) for pid in keeper.processes_of(directory)]
    return [*left, str(directory)] if directory.exists() else left


def test_hosts_of_two_subnets_reach_one_another(world: World) -> None:
    assert reaches(world.a, world.c.ipv4)
    assert reaches(world.c, world.a.ipv6)


def test_services_cross_a_link_but_no_router(world: World) -> None:
    txt = ["txtvers=1", "Größe=ü", b'raw=\xff\xfe\x01"\\;\n']
    name = "Tom's Müsic. v1;2 \\ 日本"
    watch_b, watch_c = world.avahi_b.watch("_daap._tcp"), world.avahi_c.watch("_daap._tcp")
    publication = world.avahi_a.publish(name, "_daap._tcp", 3689, txt)
    watch_b.wait_for(lambda services: {s.protocol for s in services} == {"IPv4", "IPv6"}, 5)
    services = {service.protocol: service for service in world.avahi_b.browse("_daap._tcp")}
    assert publication.name == name
    for service in services.values():
        assert (service.instance, service.port, service.host) == (name, 3689, "a.local")
        assert service.type == "_daap._tcp"
        assert service.txt_strings == tuple(t.encode() if isinstance(t, str) else t for t in txt)
    assert services["IPv4"].address == world.a.ipv4
    assert services["IPv6"].address == world.a.ipv6
    assert world.avahi_b.browse_raw("_daap._tcp").count("=;eth0;") == 2
    publication.withdraw()
    watch_b.wait_for(lambda services: not services, 5)
    assert watch_c.services() == []
    assert world.avahi_c.browse("_daap._tcp") == []
    watch_b.stop()
    watch_c.stop()


def test_txt_with_a_zero_byte_and_subtypes_go_by_a_service_file(world: World) -> None:
    watch = world.avahi_b.watch("_color._sub._ipp._tcp")
    txt = ["rp=ipp", b"key=\0\1\xff"]
    publication = world.avahi_a.publish("Zero & <One>", "_ipp._tcp", 631, txt, ["_color._sub._ipp._tcp"])
    watch.wait_for(lambda services: bool(services) and all(service.port for service in services), 5)
    (seen,) = {(s.instance, s.port, s.txt_strings) for s in watch.services()}
    assert seen == ("Zero & <One>", 631, (b"rp=ipp", b"key=\0\1\xff"))
    assert publication.name == "Zero & <One>"
    publication.withdraw()
    watch.wait_for(lambda services: not services, 5)
    watch.stop()


def test_a_service_may_stand_for_another_host(world: World) -> None:
    world.avahi_a.publish_address("printer.local", "198.51.100.77")
    watch = world.avahi_b.watch("_printer._tcp")
    world.avahi_a.publish("Old printer", "_printer._tcp", 515, host="printer.local")
    watch.wait_for(lambda services: {(s.host, s.address) for s in services} == {("printer.local", "198.51.100.77")}, 5)
    watch.stop()


def test_a_refused_service_says_why(world: World) -> None:
    with pytest.raises(LabError, match=r"(?s)ended with status .* before 'Established.*Failed to add service"):
        world.avahi_a.publish("x", "no type", 80)


def test_a_crashed_avahi_comes_back_and_yields_a_name_in_use(world: World) -> None:
    assert world.avahi_b.host_name() == "b"
    world.avahi_b.kill()
    again = world.b.start_avahi(loopback=True, host_name="a")
    assert again.host_name() == "a-2"
    assert world.avahi_a.host_name() == "a"
    again.publish("Mine", "_http._tcp", 80)
    assert "lo" in {service.interface for service in again.browse("_http._tcp")}
    again.stop()


def test_each_host_keeps_its_state_to_itself(world: World) -> None:
    script = "import os, pathlib; print(pathlib.Path.cwd(), os.environ['HOME'], os.environ['XDG_STATE_HOME'])"
    said = [host.run(sys.executable, "-c", script).stdout.split() for host in (world.a, world.b)]
    assert said[0] == [str(world.a.directory), str(world.a.directory), str(world.a.directory / "state")]
    assert not set(said[0]) & set(said[1])


def test_a_failed_command_shows_its_words(world: World) -> None:
    with pytest.raises(LabError, match="ended with status 3: too bad"):
        world.a.run("sh", "-c", "echo too bad >&2; exit 3")
    with pytest.raises(LabError, match="did not end within"):
        world.a.run("sleep", "60", timeout=0.1)


def test_a_signal_reaches_the_program_itself(world: World) -> None:
    process = world.a.popen("sh", "-c", "trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.1; done")
    process.wait_for("ready")
    assert process.stop() == 7
    assert process.log.splitlines() == ["ready", "caught"]


def test_links_break_and_heal() -> None:
    with Lab() as lab:
        one, two = lab.subnet("one", "198.51.100.0/24", "2001:db8:1::/64"), lab.subnet("two", "203.0.113.0/24")
        a, b, c = lab.host("a", one), lab.host("b", one), lab.host("c", two, one)
        router = lab.router("r", one, two)
        for cut in (b.link, one.link):
            assert reaches(a, b.ipv4)
            cut(False)
            assert not reaches(a, b.ipv4)
            cut(True)
            assert reaches(a, b.ipv4)
            assert reaches(a, b.ipv6)
        c.link(False, one)
        assert reaches(a, c.ipv4)
        router.link(False, two)
        assert not reaches(a, c.ipv4)
        assert reaches(a, b.ipv4)
        router.link(True, two)
        assert reaches(a, c.ipv4)
        assert reaches(b, c.ipv4)


SAY = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'{0}', ('239.255.9.9', 9999))"
HEAR = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("239.255.9.9", 9999))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.255.9.9") + socket.inet_aton("{0}"))
print("ready", flush=True)
while True:
    print(s.recv(99).decode(), flush=True)
"""


def test_multicast_is_filtered_in_each_direction_and_unicast_is_not() -> None:
    with Lab() as lab:
        one = lab.subnet("one", "198.51.100.0/24")
        hosts = [lab.host(name, one) for name in ("a", "b", "c")]
        a, b, _c = hosts
        for host in hosts:
            host.run("ip", "route", "add", "239.0.0.0/8", "dev", "eth0")
        ears = [host.popen(sys.executable, "-c", HEAR.format(host.ipv4)) for host in hosts]
        for ear in ears:
            ear.wait_for("ready")

        def heard_by(host: Host, word: str) -> list[bool]:
            """Who hears it; c does always, but for what is from b while that is filtered."""
            host.run(sys.executable, "-c", SAY.format(word))
            ears[hosts.index(host)].wait_for(word)  # a host hears itself
            assert reaches(a, b.ipv4), "and by now whoever else hears it has"
            return [word in ear.log for ear in ears]

        assert heard_by(a, "first") == heard_by(b, "second") == [True] * 3
        one.filter_multicast(b, to_host=True, from_host=False)
        assert (heard_by(a, "third"), heard_by(b, "fourth")) == ([True, False, True], [True] * 3)
        one.filter_multicast(b, to_host=False, from_host=True)
        assert (heard_by(a, "fifth"), heard_by(b, "sixth")) == ([True] * 3, [False, True, False])
        one.filter_multicast(b, to_host=False, from_host=False)
        assert heard_by(a, "seventh") == heard_by(b, "eighth") == [True] * 3


def test_two_links_that_are_plugged_together_are_one() -> None:
    with Lab() as lab:
        west, east = lab.subnet("west"), lab.subnet("east", first=100)
        a, b = lab.host("a", west), lab.host("b", east)
        assert (a.ipv4, b.ipv4) == ("198.51.100.2", "198.51.100.100")
        assert a.run("ping", "-c1", "-W1", b.ipv4, check=False).returncode != 0
        west.plug_into(east)
        # What was sought in vain is unreachable for a moment more.
        wait_until(lambda: a.run("ping", "-c1", "-W1", b.ipv4, check=False).returncode == 0, 5, "answer")


def test_hosts_behind_a_translating_router_reach_out_and_are_reached_at_forwarded_ports_only() -> None:
    with Lab() as lab:
        street, home = lab.subnet("street", "203.0.113.0/24"), lab.subnet("home", "192.168.1.0/24")
        inside, outside = lab.host("inside", home), lab.host("outside", street)
        lab.router("r", street)
        nat = lab.nat("nat", street, home)
        assert reaches(inside, outside.ipv4)
        assert not reaches(outside, inside.ipv4)
        heard = inside.popen(sys.executable, "-c", LISTEN)
        heard.wait_for("listening")
        for word, on in (("before", True), ("forwarded", False), ("after", True), ("again", True)):
            outside.run(sys.executable, "-c", SEND, nat.ipv4, word)
            nat.forward_port(7000, inside, on=on)
        heard.wait_for("again")
        assert heard.log.split() == ["listening", "forwarded", "again"]


LISTEN = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 7000))
print("listening")
while True:
    print(sock.recv(100).decode())
"""
SEND = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), (sys.argv[1], 7000))"


def test_laboratories_with_the_same_names_run_side_by_side() -> None:
    with Lab() as first, Lab() as second:
        hosts = [(lab.host("a", net), lab.host("b", net)) for lab in (first, second) for net in [lab.subnet("net")]]
        assert hosts[0][0].ipv4 == hosts[1][0].ipv4
        hosts[0][1].link(False)
        assert not reaches(hosts[0][0], hosts[0][1].ipv4)
        assert reaches(hosts[1][0], hosts[1][1].ipv4)


@pytest.mark.parametrize("name", ["", "a b", "a;b", "../x", "ü", "x" * 25])
def test_a_strange_name_is_refused(name: str) -> None:
    with Lab() as lab, pytest.raises(LabError, match="is no name"):
        lab.subnet(name)


def test_a_full_subnet_and_a_second_host_of_a_name_are_refused() -> None:
    with Lab() as lab:
        net = lab.subnet("net", "198.51.100.0/30")
        lab.host("a", net)
        with pytest.raises(LabError, match="already"):
            lab.host("a", net)
        with pytest.raises(LabError, match="no address is left"):
            lab.host("b", net)


def test_nothing_is_left_after_an_exception() -> None:
    lab = Lab()

    def fail() -> None:
        with lab:
            lab.host("a", lab.subnet("net")).popen("sh", "-c", "setsid sleep 60 & sleep 60")
            wait_until(lambda: len(keeper.processes_of(lab.directory)) == 3, 5, "processes")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert traces(lab.directory) == []
    assert all(process.returncode is not None for process in lab.processes)


PLAY = "from tools.netlab import main; main(['play', '--subnets', '1', '--hosts', '1'])"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal(number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", PLAY], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    name = next(lines).split()[1].rstrip(":")
    assert any("Ctrl-C ends it" in line for line in lines)
    directory = keeper.ROOT / f"{keeper.PREFIX}{name}"
    said = subprocess.run(
        [sys.executable, "-m", "tools.netlab", "shell", "h1-1", "sh", "-c", "echo $HOME"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == f"{directory}/h1-1\n"
    process.send_signal(number)
    assert process.wait(10) == (-9 if number == signal.SIGKILL else 128 + number)
    process.stdout.close()
    wait_until(lambda: not traces(directory), 5, "end", lambda: str(traces(directory)))


def test_clean_removes_a_laboratory_whose_keeper_was_killed_and_no_other() -> None:
    with Lab() as living, Lab() as dead:
        for lab in (living, dead):
            lab.host("a", lab.subnet("net")).popen("sleep", "60")
        pid = keeper.keeper_pid(dead.directory)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: keeper.keeper_pid(dead.directory) is None, 5, "death")
        assert dead.directory in keeper.clean()
        assert traces(dead.directory) == []
        assert living.processes[0].poll() is None
        assert living.hosts["a"].run("true").returncode == 0


UNPRIVILEGED = """
import os
from tools.netlab import Lab
assert os.geteuid() != 0
with Lab() as lab:
    one, two = lab.subnet("one"), lab.subnet("two", "203.0.113.0/24", "2001:db8:2::/64")
    a, b, c = lab.host("a", one), lab.host("b", one), lab.host("c", two)
    lab.router("r", one, two)
    a.run("ping", "-c1", "-W1", c.ipv4)
    avahi_a, avahi_b = lab.start_avahi(a, b)
    avahi_a.publish("x", "_daap._tcp", 3689, [b"raw=\\0\\xff"])
    avahi_b.watch("_daap._tcp").wait_for(lambda seen: bool(seen) and seen[0].txt_strings == (b"raw=\\0\\xff",), 5)
print(lab.directory)
"""


def test_a_plain_user_can_build_one() -> None:
    python, become = sys.executable, []
    if os.geteuid() == 0:
        # A root's own Python may lie where only root can look; the laboratory needs nothing but the standard library.
        python = shutil.which("python3.11", path="/usr/bin") or sys.executable
        become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    words = [*become, python, "-B", "-c", UNPRIVILEGED]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert traces(Path(done.stdout.strip())) == []
