"""A number for each message of each protocol: its tag on the wire, which the digest of a run is made of."""

from types import ModuleType
from typing import Final

from dhtboot import bootstrap_messages
from dhtboot.chord import messages as chord_messages
from dhtboot.kademlia import messages as kademlia_messages

_MODULES: Final[tuple[ModuleType, ...]] = (bootstrap_messages, chord_messages, kademlia_messages)


def message_kinds() -> dict[type, int]:
    """The wire's tag of each message type."""
    found: dict[type, int] = {}
    for module in _MODULES:
        for value in vars(module).values():
            tag = getattr(getattr(value, "__struct_config__", None), "tag", None)
            if isinstance(tag, int):
                found[value] = tag
    return found
