"""The requests for one port by each protocol, and how long and how often they are repeated."""

import ipaddress
from random import Random
from typing import Final

from mdht.ports import natpmp, pcp
from mdht.ports.config import MapperConfig
from mdht.ports.effects import Effect, Protocol, ToGateway, UpnpCheck, UpnpDelete, UpnpMap

EPHEMERAL: Final = range(49_152, 65_536)
"RFC 6335: ports that nobody has registered."
ANY: Final = ipaddress.IPv4Address(0)


class Asking:
    """What is said to the gateway.

    Args:
        port: the host's own.
        nonce: by which a server of PCP knows the mapping again.
        config: times and limits.
        rng: spreads the repetitions, and chooses other ports.

    Attributes:
        protocol: by which it is asked now.
        own: address of this host that the gateway sees.
        suggested: what the gateway gave last, and is to give again.
        hindrance: why UPnP cannot be used.
    """

    def __init__(self, port: int, nonce: bytes, config: MapperConfig, rng: Random) -> None:
        self.protocol = Protocol.PCP
        self.own: ipaddress.IPv4Address | None = None
        self.hindrance = ""
        self._port = port
        self._nonce = nonce
        self._config = config
        self._rng = rng
        self._wait_s = 0.0
        self.suggested = (ANY, port)
        self._order = [each for each in Protocol if config.upnp or each is not Protocol.UPNP]

    @property
    def is_last(self) -> bool:
        """Whether there is no protocol after this one."""
        return self.protocol is self._order[-1]

    @property
    def is_slow(self) -> bool:
        """Whether an answer comes when it comes, and nothing is repeated."""
        return self.protocol is Protocol.UPNP

    @property
    def following(self) -> Protocol:
        """The one after this one."""
        return self._order[self._order.index(self.protocol) + 1]

    @property
    def tries(self) -> int:
        """Requests at most before the next protocol."""
        return {Protocol.PCP: self._config.pcp_tries, Protocol.NAT_PMP: self._config.natpmp_tries}.get(self.protocol, 1)

    def forget(self) -> None:
        """Another gateway has given nothing yet."""
        self.suggested = (ANY, self._port)

    def is_of(self, answer: pcp.Mapping) -> bool:
        """Whether an answer by PCP is about our port (RFC 6887 section 11.4)."""
        return (answer.nonce, answer.protocol, answer.internal_port) == (self._nonce, pcp.UDP, self._port)

    def is_ours(self, answer: natpmp.Mapping) -> bool:
        """The same by NAT-PMP."""
        return answer.internal_port == self._port and answer.lifetime_s > 0

    def wait_s(self, tries: int) -> float:
        """How long to wait for an answer after so many requests that had none (RFC 6887 section 8.1.1)."""
        config = self._config
        match self.protocol:
            case Protocol.PCP:
                base = min(2.0 * self._wait_s, config.pcp_longest_s) if tries else config.pcp_first_s
                self._wait_s = base * (0.9 + 0.2 * self._rng.random())
                return self._wait_s
            case Protocol.NAT_PMP:
                return config.natpmp_first_s * 2.0**tries
            case Protocol.UPNP:
                return config.upnp_s

    def request(self) -> list[Effect]:
        """For the port, or for it to be kept longer."""
        config, (address, port) = self._config, self.suggested
        match self.protocol:
            case Protocol.PCP:
                return [self._pcp(config.lifetime_s, address, port)]
            case Protocol.NAT_PMP:
                wanted = natpmp.Mapping(internal_port=self._port, external_port=port, lifetime_s=config.lifetime_s)
                return [_natpmp(None), _natpmp(wanted)]
            case Protocol.UPNP:
                others = self._rng.sample(EPHEMERAL, config.ports_tried - 1)
                ports = tuple(dict.fromkeys((port, *others)))
                return [UpnpMap(internal_port=self._port, external_ports=ports, lifetime_s=config.lifetime_s)]

    def check(self) -> list[Effect]:
        """Whether the gateway still has it: by its epoch, by PCP and NAT-PMP."""
        match self.protocol:
            case Protocol.PCP:
                return [ToGateway(pcp.Request(client=self.own or ANY).encode())]
            case Protocol.NAT_PMP:
                return [_natpmp(None)]
            case Protocol.UPNP:
                address, port = self.suggested
                return [UpnpCheck(internal_port=self._port, external_port=port, external=address)]

    def delete(self) -> list[Effect]:
        """Give it back (RFC 6887 section 15.1: nothing is suggested; RFC 6886 section 3.4)."""
        match self.protocol:
            case Protocol.PCP:
                return [self._pcp(0, ANY, 0)]
            case Protocol.NAT_PMP:
                return [_natpmp(natpmp.Mapping(internal_port=self._port, external_port=0, lifetime_s=0))]
            case Protocol.UPNP:
                return [UpnpDelete(external_port=self.suggested[1])]

    def _pcp(self, lifetime_s: int, address: ipaddress.IPv4Address, port: int) -> ToGateway:
        mapping = pcp.Mapping(nonce=self._nonce, internal_port=self._port, external_port=port, external=address)
        return ToGateway(pcp.Request(client=self.own or ANY, lifetime_s=lifetime_s, mapping=mapping).encode())


def _natpmp(mapping: natpmp.Mapping | None) -> ToGateway:
    return ToGateway(natpmp.Request(mapping=mapping).encode())
