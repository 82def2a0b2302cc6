"""A link in memory: responders and queriers on one wire, virtual time, every message through the codec."""

import math
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address
from random import Random

from z2z.mdns.messages import (
    MDNS_PORT,
    MdnsMessage,
    QuerierEffect,
    Registration,
    ResponderEffect,
    SendMulticast,
    SendUnicast,
)
from z2z.mdns.querier import Querier, QuerierConfig
from z2z.mdns.responder import Responder
from z2z.mdns.responder_config import ResponderConfig
from z2z.mdns.wire import decode_message, encode_message
from z2z.service_item import ServiceItem


def item(name: str = "Tom's Music", **changes: object) -> ServiceItem:
    values: dict[str, object] = {
        "instance": name.encode(),
        "service_type": "_daap._tcp",
        "host": b"toms-mac",
        "port": 3689,
        "txt": b"\x09txtvers=1",
        "addresses": (ip_address("198.51.100.7"),),
    }
    return ServiceItem(**(values | changes))  # type: ignore[arg-type]


def registration(
    name: str = "Tom's Music", host: bytes = b"z2z-198-51-100-7-office", **changes: object
) -> Registration:
    return Registration(id=name, item=item(name, **changes), host_label=host, ttl_s=120)


class Station:
    """One host: a responder, a querier and what they reported."""

    def __init__(self, link: "MemoryLink", address: str, seed: int, **config: int) -> None:
        self.link = link
        self.address = address
        self.responder = Responder(ResponderConfig(**config), Random(seed))
        self.responder.set_addresses(IPv4Address(address), None)
        self.querier = Querier(QuerierConfig(), Random(seed + 1))
        self.events: list[tuple[float, object]] = []
        self.unicast: list[tuple[str, int, MdnsMessage]] = []

    def do(self, effects: list[ResponderEffect] | list[QuerierEffect]) -> None:
        for effect in effects:
            match effect:
                case SendMulticast(message=message):
                    for data in encode_message(message):
                        self.link.carry(self, data)
                case SendUnicast(message=message, to=to, port=port):
                    self.unicast.append((to, port, message))
                case _:
                    self.events.append((self.link.now, effect))

    def register(self, *args: object, **kwargs: object) -> None:
        self.do(self.responder.register(registration(*args, **kwargs), self.link.now))  # type: ignore[arg-type]

    def happened(self, kind: type) -> list[object]:
        return [event for _, event in self.events if isinstance(event, kind)]

    def hear(self, message: MdnsMessage, port: int = MDNS_PORT, source: str = "192.0.2.200") -> None:
        self.do(self.responder.receive(message, source, port, self.link.now))
        if port == MDNS_PORT:
            self.do(self.querier.receive(message, self.link.now))


class MemoryLink:
    """The wire. Datagrams arrive a millisecond after they were sent; `drop` may lose some."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.stations: list[Station] = []
        self.sent: list[tuple[float, Station, MdnsMessage]] = []
        self.drop: Callable[[Station, Station], bool] = lambda _sender, _receiver: False
        self._flying: list[tuple[float, Station, bytes]] = []

    def station(self, address: str = "", **config: int) -> Station:
        number = len(self.stations) + 1
        station = Station(self, address or f"192.0.2.{number}", number * 10, **config)
        self.stations.append(station)
        return station

    def carry(self, sender: Station, data: bytes) -> None:
        self.sent.append((self.now, sender, decode_message(data)))
        self._flying.append((self.now + 0.001, sender, data))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            deadlines = [when for when, _, _ in self._flying]
            for station in self.stations:
                deadlines += [station.responder.next_deadline(), station.querier.next_deadline()]
            when = max(min(deadlines, default=math.inf), self.now)
            if when > end:
                self.now = end
                return
            self.now = when
            self._step()

    def _step(self) -> None:
        landing = [flight for flight in self._flying if flight[0] <= self.now]
        self._flying = [flight for flight in self._flying if flight[0] > self.now]
        for _, sender, data in landing:
            for station in self.stations:
                if station is not sender and not self.drop(sender, station):
                    station.hear(decode_message(data), source=sender.address)
        for station in self.stations:
            if station.responder.next_deadline() <= self.now:
                station.do(station.responder.tick(self.now))
            if station.querier.next_deadline() <= self.now:
                station.do(station.querier.tick(self.now))
