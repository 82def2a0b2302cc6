import ipaddress
import subprocess
import sys
import textwrap

import pytest

from mdht.errors import LocalProtocolError
from mdht.netifaces_io import interface_addresses, interfaces


def test_loopback_is_there_with_its_prefix() -> None:
    assert "lo" in interfaces()
    assert ipaddress.ip_interface("127.0.0.1/8") in interface_addresses("lo")


def test_a_wrong_name_lists_the_right_ones() -> None:
    with pytest.raises(LocalProtocolError, match=r"no interface 'nope0'; there are: .*lo"):
        interface_addresses("nope0")


def in_namespace(setup: str, program: str) -> str:
    """Run a Python program in a network namespace of its own."""
    command = f"{setup}\nexec {sys.executable} -c '{textwrap.dedent(program)}'"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-ec", command],
        check=False,
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


PRINT_DEFAULT = """
from mdht.errors import LocalProtocolError
from mdht.netifaces_io import default_interface, interface_addresses
try:
    name = default_interface()
    print(name, *interface_addresses(name))
except LocalProtocolError as error:
    print(error)
"""


def test_the_default_route_decides() -> None:
    setup = """
    ip link add one type bridge; ip address add 192.0.2.1/24 dev one; ip link set one up
    ip link add two type bridge; ip address add 198.51.100.7/25 dev two; ip link set two up
    ip route add default via 198.51.100.1
    """
    assert in_namespace(setup, PRINT_DEFAULT).startswith("two 198.51.100.7/25")


def test_without_a_default_route_the_first_live_link_is_taken() -> None:
    setup = """
    ip link set lo up
    ip link add idle type bridge; ip address add 192.0.2.1/24 dev idle
    ip link add live type bridge; ip address add 2001:db8::5/64 dev live nodad; ip link set live up
    """
    words = in_namespace(setup, PRINT_DEFAULT).split()
    assert words[0] == "live"
    assert "2001:db8::5/64" in words
    assert "%" not in " ".join(words)


def test_a_host_without_links_is_told_so() -> None:
    assert in_namespace("ip link set lo up", PRINT_DEFAULT).startswith("no interface but loopback is up")


def test_the_gateway_of_a_link_is_that_of_a_route_by_one_of_its_interfaces() -> None:
    setup = """
    ip link add one type bridge; ip address add 192.0.2.1/24 dev one; ip link set one up
    ip link add two type bridge; ip address add 198.51.100.7/25 dev two; ip link set two up
    ip link add three type bridge; ip address add 203.0.113.7/24 dev three; ip link set three up
    ip route add default via 198.51.100.1
    ip route add default via 192.0.2.254 metric 900
    """
    program = """
from mdht.netifaces_io import gateway4
print(gateway4(()), gateway4(("two",)), gateway4(("one",)), gateway4(("three", "one")), gateway4(("three",)))
"""
    assert in_namespace(setup, program) == "198.51.100.1 198.51.100.1 192.0.2.254 192.0.2.254 None"


def test_without_any_route_there_is_no_gateway() -> None:
    program = 'from mdht.netifaces_io import gateway4; print(gateway4(()), gateway4(("lo",)))'
    assert in_namespace("ip link set lo up", program) == "None None"
