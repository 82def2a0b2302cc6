"""What the console shows, as plain data. Texts are as the network says them: `picture` makes them harmless."""

from typing import Literal

import msgspec


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A building block or a module that a node has."""

    name: str
    version: str = ""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a node says that it stands."""

    latitude: float
    "Degrees, north positive."
    longitude: float
    "Degrees, east positive."


class NodeSeen(msgspec.Struct, frozen=True, kw_only=True):
    """One NetServ node as one way of discovery shows it."""

    node: str
    "Its identifier; where it says none, the name by which it was found."
    public_key: str = ""
    "64 hex digits: who it is, as others can be called the same. Empty where it does not say."
    name: str
    way: Literal["link", "DHT"]
    interface: str = ""
    "Of the link."
    where: tuple[str, ...] = ()
    "`198.51.100.7:270`, one per address."
    blocks: tuple[Offer, ...] = ()
    modules: tuple[Offer, ...] = ()
    load: float | None = None
    "0 idle to 1 full, None where it does not say."
    place: Place | None = None
    operator: str = ""
    expires: int | None = None
    "Unix seconds, None where the way has no such time."
    signed: bool = False
    "Whether what is shown was signed by the node's key, and the signature holds."
    notes: tuple[str, ...] = ()
    "What else it says, or what is wrong with it."


class RingPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Another node of an overlay."""

    node: str
    "Identifier, 40 hex digits."
    address: str
    rtt_ms: float | None = None


class SubnetSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet that this machine is a host of: one node of the overlay."""

    network: str
    node: str
    "Identifier, 40 hex digits; empty while the host is in no subnet."
    subnet: str
    host: str
    by: Literal["mdht", "z2z"]
    "Program whose node it is."
    interfaces: tuple[str, ...]
    addresses: tuple[str, ...]
    members: tuple[str, ...]
    "Addresses of the other hosts."
    phase: str
    role: str
    why: str
    link_mode: str
    policy: str
    records: int
    record_bytes: int
    contacts: int
    port: str = ""
    "What came of asking the router for one."
    ring: tuple[RingPlace, ...] = ()


class ProgramSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A running z2z."""

    pid: int
    site: str
    interface: str
    exports: tuple[str, ...]
    imports: tuple[str, ...]
    keys: tuple[str, ...]
    stores: tuple[str, ...]
    policy: str
    refused: int
    "Values of the stores, since its start."


class ServiceSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A service that a running z2z exports or imports."""

    role: Literal["export", "import"]
    state: str
    service: str
    "Instance name of the origin."
    shown_as: str
    service_type: str
    where: tuple[str, ...]
    keys: tuple[str, ...]
    site: str
    reason: str
    pid: int


class SourceSeen(msgspec.Struct, frozen=True, kw_only=True):
    """How one of the console's own sources stands."""

    title: str
    works: bool
    why: str
    "What it does, or why it has nothing."
    left_out: int = 0
    "Things beyond what is shown."
