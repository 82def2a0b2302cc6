"""Publishers, rules and signed requests for the tests of the controller."""

import itertools
from ipaddress import ip_network
from typing import Any

import msgspec

from mdht.signing import SigningKey
from netserv.container.installation import Account
from netserv.controller.controller import Controller
from netserv.controller.effects import Effect
from netserv.controller.policy import Caps, Policy, PublisherRules, Way
from netserv.modules.manifest import Manifest, PortWish
from netserv.signaling.gist.addresses import packed
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.handling import Answer, Arrival
from netserv.signaling.nslp.requests import Probe, Remove, Setup
from netserv.signaling.nslp.signing import signed
from netserv.signaling.nslp.values import Flow, ModuleRef

ALICE = SigningKey.from_seed(bytes(range(32)))
BOB = SigningKey.from_seed(bytes(range(1, 33)))
KEYS = {"alice": ALICE, "bob": BOB}
MONITOR = ModuleRef("NetServ.apps.NetMonitor", "1.0.0")
FLOW = Flow(packed("10.1.0.2"), packed("10.9.0.1"))
BOBS_FLOW = Flow(packed("10.2.0.2"), packed("10.9.0.1"))
NONCES = itertools.count(1)
PASSWORD = "Zx81_kQw-77pLmNbVcXaSd"


def publisher(name: str, prefix: str, **changes: Any) -> PublisherRules:
    rules = PublisherRules(
        account=Account(name=name, prefixes=(ip_network(prefix),)),
        keys=(KEYS[name].public_key,),
        ports=(PortWish("tcp", 8080),),
    )
    return msgspec.structs.replace(rules, **changes)


def policy(**changes: Any) -> Policy:
    value = Policy(
        publishers={"alice": publisher("alice", "10.1.0.0/16"), "bob": publisher("bob", "10.2.0.0/16")},
        caps=Caps(ttl_max_s=86_400),
        blocks={"dispatcher": "1.2", "timers": "1.0"},
        ways=(Way.PREFIX, Way.ROUTABILITY),
    )
    return msgspec.structs.replace(value, **changes)


def manifest(target: ModuleRef = MONITOR, **changes: Any) -> Manifest:
    value = Manifest(name=target.name, version=target.version, entry="monitor:Activator", kind="both")
    return msgspec.structs.replace(value, **changes)


def setup(user: str = "alice", **changes: Any) -> Setup:
    value = Setup(
        target=MONITOR,
        ttl_s=3_600,
        url="http://10.1.0.2/monitor.zip",
        digest=bytes(32),
        user=user,
        filter_ports=(5060,),
        filter_proto="udp",
        notification="http://10.1.0.2:9000/",
        nonce=next(NONCES).to_bytes(16, "big"),
        expires=2_000_000_000,
        flow=FLOW if user == "alice" else BOBS_FLOW,
    )
    return signed(msgspec.structs.replace(value, **changes), KEYS[user])


def remove(user: str = "alice", **changes: Any) -> Remove:
    value = Remove(target=MONITOR, user=user, nonce=next(NONCES).to_bytes(16, "big"), expires=2_000_000_000)
    return signed(msgspec.structs.replace(value, **changes), KEYS[user])


def probe(user: str = "alice", *items: str, **changes: Any) -> Probe:
    value = Probe(target=MONITOR, items=items or ("status",), user=user, nonce=next(NONCES).to_bytes(16, "big"))
    return signed(msgspec.structs.replace(value, **changes), KEYS[user])


def arrival(request: Setup | Remove | Probe) -> Arrival:
    user = request.user or "alice"
    return Arrival(
        flow=request.flow or (FLOW if user == "alice" else BOBS_FLOW),
        session=bytes(16),
        publisher=KEYS[user].public_key if user in KEYS else None,
    )


def ask(controller: Controller, request: Setup | Remove | Probe, now: float = 0.0) -> tuple[int, list[Effect]]:
    """Code of the answer, and the effects; a refusal has none."""
    answer, effects = answered(controller, request, now)
    return answer.code, effects


def answered(controller: Controller, request: Setup | Remove | Probe, now: float = 0.0) -> tuple[Answer, list[Effect]]:
    try:
        return controller.decide(request, arrival(request), now)
    except NslpError as error:
        return Answer(code=error.code, text=str(error)[:512]), []


def kinds(effects: list[Effect]) -> list[str]:
    return [type(effect).__name__ for effect in effects]
