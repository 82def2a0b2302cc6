"""A router in memory that forwards ports, and a host that asks it, on virtual time."""

import ipaddress
from random import Random

from mdht.ports import natpmp, pcp
from mdht.ports.config import MapperConfig
from mdht.ports.effects import (
    Effect,
    ToGateway,
    UpnpAnswer,
    UpnpCall,
    UpnpCheck,
    UpnpDelete,
    UpnpDeleted,
    UpnpGranted,
    UpnpKept,
    UpnpLost,
    UpnpMap,
    UpnpRefused,
    UpnpSilent,
)
from mdht.ports.mapper import PortMapper

PORT = 27183
NONCE = bytes(range(12))
HOME = ipaddress.IPv4Address("192.168.1.7")
GATEWAY = ipaddress.IPv4Address("192.168.1.1")
OUTSIDE = ipaddress.IPv4Address("11.0.3.2")
CONFIG = MapperConfig()


class Router:
    """What it speaks, and what it forwards: ports by protocol-independent number."""

    def __init__(self, *speaks: str, outside: ipaddress.IPv4Address = OUTSIDE) -> None:
        self.speaks = set(speaks)
        "`pcp`, `natpmp` and `upnp`."
        self.outside = outside
        self.born = 0.0
        self.lifetime_s = 86_400
        self.refusal = 0
        self.refused_s = 1800
        self.taken: set[int] = set()
        self.forwards: dict[int, bytes] = {}
        "External ports, with the nonce of whoever has them by PCP."
        self.asked: list[tuple[float, object]] = []

    def answer(self, data: bytes, now: float) -> list[bytes]:
        """Act on a datagram."""
        epoch_s = int(now - self.born)
        if data[0] == pcp.VERSION:
            request = pcp.Request.decode(data)
            self.asked.append((now, request))
            if "pcp" in self.speaks:
                return [self._pcp(request, epoch_s).encode()]
            if "natpmp" in self.speaks:
                return [natpmp.Response(opcode=data[1], result=1, epoch_s=epoch_s).encode()]
            return []
        wanted = natpmp.Request.decode(data)
        self.asked.append((now, wanted))
        return [self._natpmp(wanted, epoch_s).encode()] if "natpmp" in self.speaks else []

    def _free(self, wanted: int) -> int:
        return next(port for port in range(wanted or PORT, 65_536) if port not in self.taken)

    def _pcp(self, request: pcp.Request, epoch_s: int) -> pcp.Response:
        wanted = request.mapping
        if wanted is None:
            return pcp.Response(opcode=0, result=0, lifetime_s=0, epoch_s=epoch_s)
        if self.refusal:
            return pcp.Response(
                opcode=1, result=self.refusal, lifetime_s=self.refused_s, epoch_s=epoch_s, mapping=wanted
            )
        if not request.lifetime_s:
            assert (wanted.external_port, wanted.external) == (0, pcp.NO_ADDRESS)
            self.forwards = {port: nonce for port, nonce in self.forwards.items() if nonce != wanted.nonce}
            return pcp.Response(opcode=1, result=0, lifetime_s=0, epoch_s=epoch_s, mapping=wanted)
        port = self._free(wanted.external_port)
        self.forwards[port] = wanted.nonce
        got = pcp.Mapping(
            nonce=wanted.nonce, internal_port=wanted.internal_port, external_port=port, external=self.outside
        )
        lifetime_s = min(self.lifetime_s, request.lifetime_s)
        return pcp.Response(opcode=1, result=0, lifetime_s=lifetime_s, epoch_s=epoch_s, mapping=got)

    def _natpmp(self, request: natpmp.Request, epoch_s: int) -> natpmp.Response:
        wanted = request.mapping
        if wanted is None:
            return natpmp.Response(opcode=0, result=self.refusal, epoch_s=epoch_s, address=self.outside)
        if self.refusal:
            return natpmp.Response(opcode=1, result=self.refusal, epoch_s=epoch_s)
        if not wanted.lifetime_s:
            self.forwards.clear()
            return natpmp.Response(opcode=1, result=0, epoch_s=epoch_s, mapping=wanted)
        port = self._free(wanted.external_port)
        self.forwards[port] = b""
        got = natpmp.Mapping(
            internal_port=wanted.internal_port,
            external_port=port,
            lifetime_s=min(self.lifetime_s, wanted.lifetime_s),
        )
        return natpmp.Response(opcode=1, result=0, epoch_s=epoch_s, mapping=got)

    def upnp(self, call: UpnpCall, now: float) -> UpnpAnswer:
        """Act on a call."""
        self.asked.append((now, call))
        if "upnp" not in self.speaks:
            return UpnpSilent()
        match call:
            case UpnpMap(external_ports=ports):
                free = [port for port in ports if port not in self.taken]
                if not free or self.refusal:
                    return UpnpRefused("ConflictInMappingEntry")
                self.forwards[free[0]] = b""
                return UpnpGranted(external=self.outside, port=free[0], lifetime_s=call.lifetime_s)
            case UpnpCheck(external_port=port, external=external):
                return UpnpKept() if port in self.forwards and external == self.outside else UpnpLost()
            case UpnpDelete(external_port=port):
                self.forwards.pop(port, None)
                return UpnpDeleted()

    def restart(self, now: float) -> bytes:
        """Lose all; what it announces then."""
        self.forwards.clear()
        self.born = now
        if "pcp" in self.speaks:
            return pcp.Response(opcode=0, result=0, lifetime_s=0, epoch_s=0).encode()
        return natpmp.Response(opcode=0, result=0, epoch_s=0, address=self.outside).encode()


class Host:
    """One that has its port forwarded; packets take no time."""

    def __init__(self, router: Router, config: MapperConfig = CONFIG, *, allow_private: bool = False) -> None:
        self.now = 1000.0
        self.router = router
        router.born = self.now - 500.0
        self.reachable = True
        self.mapper = PortMapper(PORT, NONCE, config, Random(1), allow_private=allow_private)

    def begin(self) -> None:
        self.perform(self.mapper.place(GATEWAY, HOME, self.now))

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, ToGateway):
                for answer in self.router.answer(effect.data, self.now) if self.reachable else ():
                    self.perform(self.mapper.receive(answer, self.now))
            else:
                self.perform(self.mapper.upnp_answered(self.router.upnp(effect, self.now), self.now))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.mapper.next_deadline() <= end:
            self.now = max(self.now, self.mapper.next_deadline())
            self.perform(self.mapper.tick(self.now))
        self.now = end

    def stop(self) -> None:
        self.perform(self.mapper.stop(self.now))

    @property
    def outside(self) -> object:
        return None if self.mapper.held is None else self.mapper.held.outside

    def requests(self, kind: type) -> list[float]:
        """When a kind of request was made."""
        return [at for at, request in self.router.asked if isinstance(request, kind)]
