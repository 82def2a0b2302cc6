"""What an operator says of his node: a TOML file, and options that count more.

node_id = "router-7"                 # optional
operator = "Example Net"
location = [40.71, -74.01]           # latitude, longitude
gist_port = 270

[blocks]
ffmpeg = "5.1"
geoip = ["1.0", "2.0"]

[modules]
"NetServ.apps.MediaRelay" = "1.2.0"

[limits]                             # 0 or left out: nothing is said
modules = 8
memory_mib = 256
ttl_s = 86400
"""

import msgspec

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.location import Location
from netserv_discovery.record import GIST_PORT
from netserv_discovery.versions import Offer


class LimitsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a publisher can have of the node."""

    modules: int = 0
    memory_mib: int = 0
    ttl_s: int = 0


class FactsFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is written."""

    node_id: str | None = None
    operator: str = ""
    location: tuple[float, float] | None = None
    gist_port: int = GIST_PORT
    blocks: dict[str, str | list[str]] = {}
    "Version or versions of each."
    modules: dict[str, str | list[str]] = {}
    limits: LimitsTable = LimitsTable()

    def place(self) -> Location | None:
        """Where the node is."""
        return None if self.location is None else Location(*self.location)


def parse_facts(text: str) -> FactsFile:
    """The facts of a TOML text.

    Raises:
        LocalProtocolError: it says something else; the text names it.
    """
    try:
        facts = msgspec.toml.decode(text, type=FactsFile)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"not facts of a node: {error}") from error
    facts.place()
    for table in (facts.blocks, facts.modules):
        offers(table)
    return facts


def offers(table: dict[str, str | list[str]]) -> tuple[Offer, ...]:
    """What a table of names and versions offers.

    Raises:
        LocalProtocolError: one is no name or no version.
    """
    return tuple(
        Offer(name, version)
        for name, versions in table.items()
        for version in ([versions] if isinstance(versions, str) else versions)
    )
