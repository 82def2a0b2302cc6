"""Requests as an attacker sends them, through the NSLP's judge and the controller together (abuse cases 23 to 27)."""

import secrets
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from mdht.signing import SigningKey
from netserv.controller.controller import Controller
from netserv.controller.effects import CheckRoutability, Effect, Install, Notify, Remember
from netserv.controller.handler import ControllerHandler
from netserv.controller.policy import within
from netserv.signaling.gist.addresses import packed
from netserv.signaling.nslp import requests
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.counters import NslpCounters
from netserv.signaling.nslp.handling import Arrival
from netserv.signaling.nslp.judging import Judge
from netserv.signaling.nslp.requests import Request
from netserv.signaling.nslp.signing import signed
from netserv.signaling.nslp.values import Flow, ModuleRef
from tests.netserv.controller.test_controller import carry_out, state
from tests.netserv.controller.wishes import (
    ALICE,
    BOB,
    FLOW,
    KEYS,
    MONITOR,
    PASSWORD,
    policy,
    probe,
    publisher,
    remove,
    setup,
)

UNIX = 1_800_000_000.0


class Door:
    """A node, as requests meet it."""

    def __init__(self, **changes: Any) -> None:
        self.now, self.unix = 0.0, UNIX
        self.controller = Controller(policy(**changes), 0.0)
        self.effects: list[Effect] = []
        self.restart()

    def restart(self) -> None:
        """All that the NSLP remembers is gone; the controller's journal is not."""
        handler = ControllerHandler(self.controller, self.take, clock=lambda: 0.0)
        self._judge = Judge(
            config=NslpConfig(),
            node_id="router7",
            handler=handler,
            unix_time=lambda: self.unix,
            counters=NslpCounters(),
        )

    def take(self, effects: list[Effect]) -> None:
        self.effects += carry_out(self.controller, effects, self.now)

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.unix += seconds

    def ask(self, request: Request, flow: Flow = FLOW) -> int:
        arrival = Arrival(flow=flow, session=bytes(16))
        return self._judge.judge(request, arrival, self.now).answer.code

    def said(self, request: Request) -> str:
        return self._judge.judge(request, Arrival(flow=FLOW, session=bytes(16)), self.now).answer.text

    @property
    def installed(self) -> int:
        return sum(isinstance(effect, Install) for effect in self.effects)


def wish(key: SigningKey = ALICE, **changes: Any) -> requests.Setup:
    value = {"expires": int(UNIX) + 300, "flow": FLOW} | changes
    plain = msgspec.structs.replace(setup(), **value)
    return signed(plain, key)


def end(**changes: Any) -> requests.Remove:
    return remove(**({"expires": int(UNIX) + 300, "flow": FLOW} | changes))


def test_the_harmless_twin_is_installed_and_removed() -> None:
    door = Door()
    assert door.ask(wish()) == 202
    assert state(door.controller) is not None
    assert door.ask(end()) == 202
    assert not door.controller.lifecycle.slots


def test_a_setup_that_is_sent_again_installs_nothing_again() -> None:
    door = Door()
    request = wish()
    assert door.ask(request) == 202
    assert door.ask(end()) == 202
    assert door.ask(request) == 202, "the answer is repeated"
    assert door.installed == 1
    assert not door.controller.lifecycle.slots


@pytest.mark.parametrize("unix_jump_s", [0.0, -1_000.0, -80_000.0])
def test_nor_after_a_restart_nor_with_the_clock_set_back(unix_jump_s: float) -> None:
    door = Door()
    request = wish()
    assert door.ask(request) == 202
    assert door.ask(end()) == 202
    door.pass_(1_000.0)
    assert door.ask(request) == 410
    door.unix = UNIX + 100.0
    door.restart()
    assert door.ask(request) == 403
    door.unix = UNIX + unix_jump_s
    assert door.ask(request) == 403
    assert door.installed == 1


def test_a_remove_that_is_sent_again_removes_nothing_again() -> None:
    door = Door()
    door.ask(wish())
    request = end()
    assert door.ask(request) == 202
    assert door.ask(wish()) == 202
    door.restart()
    assert door.ask(request) == 403
    assert state(door.controller) is not None


def test_a_request_is_good_for_one_path_and_one_time() -> None:
    door = Door()
    request = wish()
    elsewhere = Flow(FLOW.source, packed("10.9.0.2"))
    assert door.ask(request, elsewhere) == 403
    door.pass_(1_000.0)
    assert door.ask(request) == 410
    assert door.ask(wish(expires=int(UNIX) + 1_000_000)) == 403
    assert not door.effects


def test_the_same_nonce_does_not_say_something_else() -> None:
    door = Door()
    request = wish()
    assert door.ask(request) == 202
    assert door.ask(wish(nonce=request.nonce, ttl_s=9)) == 403
    door.restart()
    assert door.ask(wish(nonce=request.nonce, ttl_s=9)) == 403


def test_an_old_version_does_not_come_back() -> None:
    door = Door()
    assert door.ask(wish(target=ModuleRef(MONITOR.name, "2.0"))) == 202
    assert door.ask(wish()) == 409
    assert door.installed == 1


@pytest.mark.parametrize("key", [BOB, SigningKey.from_seed(bytes(range(7, 39)))])
def test_nobody_signs_for_another(key: SigningKey) -> None:
    door = Door()
    assert door.ask(wish(key)) == 401
    request = wish()
    assert door.ask(msgspec.structs.replace(request, ttl_s=9, text=b"")) == 401
    assert door.ask(wish(user="mallory")) == 401
    assert not door.effects


def test_nobody_ends_or_sees_anothers_module() -> None:
    door = Door()
    door.ask(wish())
    claims = {"expires": int(UNIX) + 300, "flow": FLOW}
    assert door.ask(remove("bob", **claims)) == 404
    assert door.ask(probe("bob", **claims)) == 404
    assert door.ask(signed(msgspec.structs.replace(end(), user="alice"), BOB)) == 401
    assert state(door.controller) is not None


@pytest.mark.parametrize("ttl", ["0", "-1", "", "4294967296x", "1e9", "9" * 13, "0x10"])
def test_a_ttl_that_is_none_is_refused(ttl: str) -> None:
    text = requests.encode(wish()).replace(b"ttl:3600", f"ttl:{ttl}".encode())
    with pytest.raises(NslpError) as caught:
        requests.decode(text)
    assert caught.value.code == 400
    missing = requests.encode(wish()).replace(b"ttl:3600\n", b"")
    with pytest.raises(NslpError):
        requests.decode(missing)


@pytest.mark.parametrize("ttl_s", [86_401, 2**32, 999_999_999_999])
def test_a_long_ttl_is_lowered_to_the_operators(ttl_s: int) -> None:
    door = Door()
    assert door.ask(wish(ttl_s=ttl_s)) == 202
    assert door.controller.lifecycle.next_deadline() == 86_400.0


FOREIGN = ["10.2.0.1/32", "10.2.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "0.0.0.0/1", "192.0.2.1/32", "10.0.0.0/15"]


@pytest.mark.parametrize("prefix", [*FOREIGN, "::/0", "2001:db8::1/128", "127.0.0.1/32", "224.0.0.251/32"])
def test_packets_of_others_are_refused_and_nothing_is_begun(prefix: str) -> None:
    door = Door()
    assert door.ask(wish(filter_dst=ip_network(prefix))) == 403
    assert not [effect for effect in door.effects if not isinstance(effect, Remember)]


def test_everybodys_traffic_is_nobodys_whatever_the_rules_say() -> None:
    rules = {"alice": publisher("alice", "0.0.0.0/0")}
    door = Door(publishers=rules)
    assert door.ask(wish(filter_dst=ip_network("0.0.0.0/0"))) == 403
    assert door.ask(wish(filter_dst=ip_network("128.0.0.0/1"))) == 403, "with multicast and broadcast in it"
    assert door.ask(wish(filter_dst=ip_network("10.2.0.0/16"))) == 202


@pytest.mark.parametrize(
    ("inner", "outer", "inside"),
    [
        ("10.1.0.0/16", "10.1.0.0/16", True),
        ("10.1.0.0/17", "10.1.0.0/16", True),
        ("10.1.255.255/32", "10.1.0.0/16", True),
        ("10.0.0.0/8", "10.0.0.0/16", False),
        ("10.2.0.0/17", "10.1.0.0/16", False),
        ("::/8", "0.0.0.0/8", False),
        ("2001:db8::/48", "2001:db8::/32", True),
    ],
)
def test_a_prefix_lies_in_another_as_a_whole(inner: str, outer: str, inside: bool) -> None:
    assert within(ip_network(inner), ip_network(outer)) == inside


def test_the_source_of_the_flow_has_to_be_the_publishers_as_well() -> None:
    flow = Flow(packed("10.2.0.9"), FLOW.destination)
    door = Door()
    assert door.ask(wish(flow=flow), flow) == 403


@pytest.mark.parametrize("ports", ["0", "65536", "-1", "5060-5070", "any"])
def test_ports_that_are_none_cannot_be_said(ports: str) -> None:
    text = requests.encode(wish()).replace(b"filter-port:5060", f"filter-port:{ports}".encode())
    with pytest.raises(NslpError) as caught:
        requests.decode(text)
    assert caught.value.code == 400


@pytest.mark.parametrize("ports", [(270,), (5060, 270)])
def test_the_port_of_signalling_is_nobodys(ports: tuple[int, ...]) -> None:
    door = Door()
    assert door.ask(wish(filter_ports=ports)) == 403
    assert not [effect for effect in door.effects if not isinstance(effect, Remember)]


FAR = ip_network("192.0.2.7/32")
WEAK = ["a", "password", "0" * 64, "ab" * 30, "0123456789abcdef", "a" * 22, "correct horse battery staple"]


@pytest.mark.parametrize("password", WEAK)
def test_a_password_that_can_be_guessed_is_refused(password: str) -> None:
    door = Door()
    assert door.ask(wish(filter_dst=FAR, password=password)) == 403
    assert not any(isinstance(effect, CheckRoutability) for effect in door.effects)


def test_any_that_is_made_as_told_is_taken() -> None:
    for _ in range(500):
        door = Door()
        for password in (secrets.token_urlsafe(16), secrets.token_hex(16)):
            assert door.ask(wish(filter_dst=FAR, password=password)) in {202, 200}, password
            door.pass_(1.0)


def test_a_password_is_used_once() -> None:
    door = Door()
    assert door.ask(wish(filter_dst=FAR, password=PASSWORD)) == 202
    assert door.ask(end()) == 202
    door.pass_(10.0)
    assert door.ask(wish(filter_dst=FAR, password=PASSWORD)) == 403
    assert "used here before" in door.said(wish(filter_dst=FAR, password=PASSWORD))


def test_a_host_is_not_asked_often() -> None:
    door = Door()
    for number in range(50):
        door.ask(wish(filter_dst=FAR, password=f"{number:02d}{PASSWORD}", properties=(("n", str(number)),)))
    checks = [effect for effect in door.effects if isinstance(effect, CheckRoutability)]
    assert len(checks) == 3
    assert {check.port for check in checks} == {80}


def test_routability_gives_one_address_and_none_of_anothers() -> None:
    door = Door()
    for prefix in ("192.0.2.0/24", "10.2.0.9/32"):
        assert door.ask(wish(filter_dst=ip_network(prefix), password=PASSWORD)) == 403
    assert not any(isinstance(effect, CheckRoutability) for effect in door.effects)


def test_a_publisher_hears_what_became_of_it_and_no_password_is_told() -> None:
    door = Door()
    door.ask(wish(filter_dst=FAR, password=PASSWORD))
    door.ask(end())
    told = [effect for effect in door.effects if isinstance(effect, Notify)]
    assert [effect.event for effect in told] == ["installed", "removed"]
    assert not any(PASSWORD in effect.text for effect in told)
    assert set(KEYS) == {"alice", "bob"}
