"""Has the gateway forward a UDP port to this host, and keeps it so: by PCP, else NAT-PMP, else UPnP.

RFC 6887 (MAP, epoch, retransmission, renewal, deletion), RFC 6886, and appendix A of the former on going from one to
the other. UPnP is asked by somebody else, who answers when he is done. The caller looks at `held` after each call.
"""

import ipaddress
import math
from collections import Counter
from random import Random
from typing import Final

from dhtboot.ids import Address
from mdht.errors import RemoteProtocolError
from mdht.ports import asking, natpmp, pcp
from mdht.ports.config import MapperConfig
from mdht.ports.effects import (
    Cause,
    Effect,
    Held,
    Lack,
    Protocol,
    ToGateway,
    UpnpAnswer,
    UpnpDeleted,
    UpnpGranted,
    UpnpKept,
    UpnpLost,
    UpnpRefused,
    UpnpSilent,
)
from mdht.ports.epoch import Epoch
from mdht.ports.table import TRANSITIONS, Action, Input, Stage
from mdht.subnet.hostset import reaches

_PCP_UNSPOKEN: Final = frozenset({pcp.Result.UNSUPP_VERSION, pcp.Result.UNSUPP_OPCODE, pcp.Result.UNSUPP_PROTOCOL})
_NATPMP_UNSPOKEN: Final = frozenset({natpmp.Result.UNSUPP_VERSION, natpmp.Result.UNSUPP_OPCODE})
_ANSWERED: Final = frozenset({Stage.ASKING, Stage.RENEWING, Stage.HELD})
_BY_DATAGRAM: Final = frozenset({Protocol.PCP, Protocol.NAT_PMP})


class PortMapper:
    """One host's port at its gateway.

    Args:
        port: the host's own, which is wanted outside too.
        nonce: 12 bytes that nobody can guess, which keep others from touching the mapping. A host that was killed needs
            the same again: the server refuses its port to any other until the mapping ends (RFC 6887 section 11.3).
        config: times and limits.
        rng: all chance.
        allow_private: whether an outside address that is none of the internet's is good enough.

    Attributes:
        stage: how far it is.
        held: the port, None where there is none.
        lack: why there is none.
        gateway: whom it is asked for.
        counters: of requests, answers, and what was refused.
    """

    def __init__(
        self, port: int, nonce: bytes, config: MapperConfig, rng: Random, *, allow_private: bool = False
    ) -> None:
        self.stage = Stage.WAITING
        self.held: Held | None = None
        self.lack = Lack(cause=Cause.STARTING)
        self.gateway: ipaddress.IPv4Address | None = None
        self.counters: Counter[str] = Counter()
        self._config = config
        self._rng = rng
        self._allow_private = allow_private
        self._ask = asking.Asking(port, nonce, config, rng)
        self._epoch = Epoch()
        self._tries = 0
        self._due_at = math.inf
        self._check_at = math.inf
        self._granted_at = 0.0
        self._lifetime_s = 0.0
        self._refused_s: float | None = None
        self._rest_s = config.rest_first_s
        self._address: ipaddress.IPv4Address | None = None
        "NAT-PMP tells address and port apart."
        self._mapped: natpmp.Mapping | None = None

    # ---- caller's side -------------------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether nothing is to be done any more, after `stop`."""
        return self.stage is Stage.ENDED

    def place(
        self, gateway: ipaddress.IPv4Address | None, own: ipaddress.IPv4Address | None, now: float
    ) -> list[Effect]:
        """Say who is the gateway, and the address at which it sees this host; call it whenever that may be new."""
        if (gateway, own) == (self.gateway, self._ask.own):
            if gateway is None and self.stage is Stage.WAITING:  # the first look has found none
                self._lack(Cause.NO_GATEWAY)
            return []
        self.gateway, self._ask.own = gateway, own
        self._epoch = Epoch()
        self._rest_s = self._config.rest_first_s
        self._ask.forget()
        return self._on(Input.NO_GATEWAY if gateway is None or own is None else Input.GATEWAY, now)

    def receive(self, data: bytes, now: float) -> list[Effect]:
        """Act on a datagram from the gateway's port; what is no answer is counted."""
        try:
            if data[:1] == bytes((natpmp.VERSION,)):
                return self._on_natpmp(natpmp.Response.decode(data), now)
            return self._on_pcp(pcp.Response.decode(data), now)
        except RemoteProtocolError:
            self.counters["port_answers_malformed"] += 1
            return []

    def announced(self, data: bytes, now: float) -> list[Effect]:
        """Act on what the gateway has told all hosts of the link (RFC 6887 section 14.1, RFC 6886 section 3.2.1)."""
        try:
            if data[:1] == bytes((natpmp.VERSION,)):
                told = natpmp.Response.decode(data)
                return self._on_epoch(told.epoch_s, now, moved=self._moved(told), announced=True)
            return self._on_epoch(pcp.Response.decode(data).epoch_s, now, announced=True)
        except RemoteProtocolError:
            self.counters["port_announcements_malformed"] += 1
            return []

    def unreachable(self, now: float) -> list[Effect]:
        """Nobody listens at the gateway's port, as an ICMP error says: there is no need to wait."""
        if self.stage is Stage.ASKING and self._ask.protocol in _BY_DATAGRAM:
            return self._on(Input.UNSPOKEN, now)
        return self._on(Input.EXHAUSTED, now) if self.stage is Stage.ENDING else []

    def upnp_answered(self, answer: UpnpAnswer, now: float) -> list[Effect]:
        """Act on what came of a call of UPnP."""
        if self.stage is Stage.ENDING and isinstance(answer, UpnpGranted):  # asked for before the end
            self._ask.suggested = (answer.external, answer.port)
            return self._ask.delete()
        if self.stage is Stage.ENDING or isinstance(answer, UpnpDeleted):
            return self._on(Input.GONE, now)
        if self._ask.protocol is not Protocol.UPNP or self.stage not in _ANSWERED:
            return []
        match answer:
            case UpnpGranted(external=external, port=port, lifetime_s=lifetime_s):
                return self._granted(external, port, lifetime_s, now)
            case UpnpRefused(reason=reason):
                return self._refused(reason, None, now)
            case UpnpLost():
                return self._on(Input.LOST, now)
            case UpnpKept():
                return []
            case UpnpSilent(reason=reason):
                self._ask.hindrance = reason
                return self._on(Input.EXHAUSTED, now) if self.stage is Stage.ASKING else []

    def tick(self, now: float) -> list[Effect]:
        """Act on the time."""
        if self.stage is Stage.HELD and self._check_at <= now < self._due_at:
            return self._on(Input.CHECK, now)
        return self._on(self._what_is_due(now), now) if now >= self._due_at else []

    def next_deadline(self) -> float:
        """When to call `tick`; `math.inf` for never."""
        return min(self._due_at, self._check_at) if self.stage is Stage.HELD else self._due_at

    def stop(self, now: float) -> list[Effect]:
        """Give the port back; go on until `ended`."""
        self._tries = 0
        return self._on(Input.STOP, now)

    # ---- answers -------------------------------------------------------------------------------------------------

    def _on_pcp(self, answer: pcp.Response, now: float) -> list[Effect]:
        got = answer.mapping
        if got is not None and not self._ask.is_of(got):
            self.counters["port_answers_strange"] += 1
            return []
        self.counters["port_answers"] += 1
        if answer.opcode != pcp.Opcode.MAP:
            return self._on_epoch(answer.epoch_s, now) if answer.result == pcp.Result.SUCCESS else []
        if self.stage is Stage.ENDING:
            return self._on(Input.GONE, now)
        if self._ask.protocol not in _BY_DATAGRAM or self.stage not in _ANSWERED:
            return []
        if answer.result == pcp.Result.SUCCESS and got is not None:
            self._epoch.note(answer.epoch_s, now)
            self._ask.protocol = Protocol.PCP  # perhaps it has come late
            if not answer.lifetime_s:
                return self._on(Input.LOST, now)
            return self._granted(got.external, got.external_port, answer.lifetime_s, now)
        if self._ask.protocol is not Protocol.PCP:
            return []
        if answer.result in _PCP_UNSPOKEN:
            return self._on(Input.UNSPOKEN, now)
        return self._refused(_name(pcp.Result, answer.result), answer.lifetime_s, now)

    def _on_natpmp(self, answer: natpmp.Response, now: float) -> list[Effect]:
        self.counters["port_answers"] += 1
        if self._ask.protocol is Protocol.PCP:
            # A router that knows this protocol only says so (RFC 6887 appendix A).
            return self._on(Input.UNSPOKEN, now) if self.stage in {Stage.ASKING, Stage.RENEWING} else []
        if self.stage is Stage.ENDING:
            return self._on(Input.GONE, now) if answer.opcode == natpmp.Opcode.MAP_UDP else []
        if self._ask.protocol is not Protocol.NAT_PMP or self.stage not in _ANSWERED:
            return []
        if answer.result in _NATPMP_UNSPOKEN:
            return self._on(Input.UNSPOKEN, now)
        if answer.result != natpmp.Result.SUCCESS:
            return self._refused(_name(natpmp.Result, answer.result), None, now)
        if self.stage is Stage.HELD:
            return self._on_epoch(answer.epoch_s, now, moved=self._moved(answer))
        self._epoch.note(answer.epoch_s, now)
        if answer.mapping is not None and self._ask.is_ours(answer.mapping):
            self._mapped = answer.mapping
        self._address = answer.address or self._address
        if self._mapped is None or self._address is None:
            return []
        return self._granted(self._address, self._mapped.external_port, self._mapped.lifetime_s, now)

    def _on_epoch(self, epoch_s: int, now: float, *, moved: bool = False, announced: bool = False) -> list[Effect]:
        """The router has said since when it has its state."""
        as_expected = self._epoch.note(epoch_s, now)
        # One that has been silent, and speaks now, may have learnt to.
        new = announced and self.stage is Stage.RESTING and self.lack.cause is Cause.SILENT
        if as_expected and not moved and not new:
            return []
        self.counters["port_state_lost"] += 1
        return self._on(Input.LOST, now)

    def _moved(self, told: natpmp.Response) -> bool:
        """Whether the router has another outside address than the one of the port that is held."""
        outside = self.lack.outside if self.held is None else self.held.outside
        return told.address is not None and outside is not None and str(told.address) != outside[0]

    def _granted(self, external: ipaddress.IPv4Address, port: int, lifetime_s: int, now: float) -> list[Effect]:
        outside = (str(external), port)
        self._rest_s = self._config.rest_first_s
        if not port or not reaches(outside, allow_private=self._allow_private):
            self._lack(Cause.TRANSLATED, outside=outside)
            return self._on(Input.USELESS, now)
        self._granted_at = now
        self._lifetime_s = min(max(lifetime_s, self._config.lifetime_least_s), self._config.lifetime_most_s)
        self._ask.suggested = (external, port)
        self.held = Held(protocol=self._ask.protocol, outside=outside, until=now + self._lifetime_s)
        return self._on(Input.GRANTED, now)

    def _refused(self, detail: str, wait_s: float | None, now: float) -> list[Effect]:
        if self.stage is Stage.HELD:
            return []  # an answer that was on its way twice; the port is ours until the router says otherwise
        self.counters["port_refused"] += 1
        self._lack(Cause.REFUSED, detail=detail)
        least, most = self._config.refused_least_s, self._config.refused_most_s
        self._refused_s = min(max(most if wait_s is None else wait_s, least), most)
        return self._on(Input.REFUSED, now)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _what_is_due(self, now: float) -> Input:
        match self.stage:
            case Stage.ASKING:
                if self._tries < self._ask.tries:
                    return Input.SILENCE
                return Input.EXHAUSTED if self._ask.is_last else Input.UNSPOKEN
            case Stage.HELD:
                return Input.DUE
            case Stage.RENEWING:
                return Input.EXPIRED if self.held is None or now >= self.held.until else Input.SILENCE
            case Stage.ENDING:
                again = self._tries < self._config.end_tries and not self._ask.is_slow
                return Input.SILENCE if again else Input.EXHAUSTED
            case _:
                return Input.AGAIN

    def _on(self, what: Input, now: float) -> list[Effect]:
        if what is Input.UNSPOKEN and self.stage is Stage.ASKING and self._ask.is_last:
            what = Input.EXHAUSTED
        step = TRANSITIONS.get((self.stage, what))
        if step is None:
            return []
        self.stage, action = step
        match action:
            case Action.BEGIN:
                return self._begin(Protocol.PCP, now)
            case Action.NEXT:
                return self._begin(self._ask.following, now)
            case Action.SEND:
                return self._send(now)
            case Action.RECOVER:
                return self._recover(now)
            case Action.KEEP:
                self._tries, self._address, self._mapped = 0, None, None
                self._check_at = now + self._config.check_s
                self._set_renewal(now)
                return []
            case Action.RENEW:
                self._set_renewal(now)
                return self._counted(self._ask.request())
            case Action.CHECK:
                self._check_at = now + self._config.check_s
                return self._counted(self._ask.check())
            case _:
                return self._cease(action, now)

    def _cease(self, action: Action, now: float) -> list[Effect]:
        """What is done where no port is to be had, or wanted, any more."""
        match action:
            case Action.REST:
                self._rest(now)
                return []
            case Action.GIVE_BACK:
                self.held, self._due_at = None, now + self._config.refused_most_s
                return self._ask.delete()
            case Action.DELETE:
                was_held, self.held = self.held is not None, None
                self._tries += 1
                self._lack(Cause.ENDED)
                self._due_at = now + (self._config.upnp_s if self._ask.is_slow else self._config.end_s)
                # By UPnP a port that we have not been given may be another host's.
                return self._ask.delete() if was_held or not self._ask.is_slow else []
            case _:
                self.held, self._due_at = None, math.inf
                self._lack(Cause.NO_GATEWAY if action is Action.FORGET else Cause.ENDED)
                return []

    def _begin(self, protocol: Protocol, now: float) -> list[Effect]:
        self.held, self._tries = None, 0
        self._address, self._mapped = None, None
        self._ask.protocol = protocol
        if self.lack.cause in {Cause.NO_GATEWAY, Cause.ENDED}:
            self._lack(Cause.STARTING)
        return self._send(now)

    def _recover(self, now: float) -> list[Effect]:
        """Many hosts have heard the same; the port, if there is one, is ours as long as nobody says otherwise."""
        if self.held is None:
            self._ask.protocol = Protocol.PCP
        self._tries, self._address, self._mapped = 0, None, None
        self._due_at = now + self._rng.random() * self._config.recover_s
        return []

    def _send(self, now: float) -> list[Effect]:
        self._due_at = now + self._ask.wait_s(self._tries)
        self._tries += 1
        return self._counted(self._ask.request())

    def _set_renewal(self, now: float) -> None:
        """RFC 6887 section 11.2.1: half of the lifetime, then half of what is left, and so on, each a bit later."""
        self._tries += 1
        share = 0.5**self._tries
        at = self._granted_at + self._lifetime_s * (1.0 - share + 0.25 * share * self._rng.random())
        end = self._granted_at + self._lifetime_s
        self._due_at = min(max(at, now + self._config.renew_apart_s), end)

    def _rest(self, now: float) -> None:
        self.held = None
        pause_s, self._refused_s = self._refused_s, None
        if pause_s is None:
            self._lack(Cause.SILENT, detail=self._ask.hindrance)
            pause_s, self._rest_s = self._rest_s, min(2.0 * self._rest_s, self._config.rest_longest_s)
        self._due_at = now + pause_s * (0.9 + 0.2 * self._rng.random())

    def _lack(self, cause: Cause, *, detail: str = "", outside: Address | None = None) -> None:
        protocol = self._ask.protocol if cause in {Cause.REFUSED, Cause.TRANSLATED} else None
        self.lack = Lack(cause=cause, protocol=protocol, detail=detail, outside=outside)

    def _counted(self, effects: list[Effect]) -> list[Effect]:
        self.counters["port_requests"] += sum(isinstance(effect, ToGateway) for effect in effects)
        return effects


def _name(results: type[pcp.Result] | type[natpmp.Result], number: int) -> str:
    """A result as its standard names it."""
    try:
        return results(number).name
    except ValueError:
        return f"result {number}"
