"""The 20-byte keys of the DHT under which nodes, lists and modules are found.

A key is SHA-1 of `netserv.` and a text which says what it is, `netserv.block:ffmpeg@dr5`. Names of blocks and modules
are compared without regard to case.
"""

import hashlib
from typing import Final

import msgspec

from netserv_discovery.location import SIZES, cell_of
from netserv_discovery.record import NodeRecord
from netserv_discovery.versions import Offer, folded

ADVERTISED_MAX: Final = 64
"""Blocks, and as many modules, of a node that have keys: with five keys each these are 645 records, 32 puts a second
at a lease of 60 s. What is beyond stands in the node's list."""


class Place(msgspec.Struct, frozen=True):
    """One key under which a record is advertised."""

    key: bytes
    text: str
    "What it is the key of."
    offer: str | None = None
    "Name of the block or module that it is found by."


def dht_key(text: str) -> bytes:
    """The key of a text as `block:ffmpeg`."""
    return hashlib.sha1(b"netserv." + text.encode(), usedforsecurity=False).digest()


def node_key(node_id: str) -> bytes:
    """Of one node. Others can be called the same: who it is says its public key."""
    return dht_key(f"node:{node_id}")


def block_key(block: str) -> bytes:
    """Of all nodes that offer a block."""
    return dht_key(f"block:{folded(block)}")


def module_key(module: str) -> bytes:
    """Of all nodes that run a module."""
    return dht_key(f"module:{folded(module)}")


def cell_key(cell: str) -> bytes:
    """Of all nodes in a cell of the globe."""
    return dht_key(f"cell:{cell}")


def block_cell_key(block: str, cell: str) -> bytes:
    """Of all nodes in a cell that offer a block."""
    return dht_key(f"block:{folded(block)}@{cell}")


def module_cell_key(module: str, cell: str) -> bytes:
    """Of all nodes in a cell that run a module."""
    return dht_key(f"module:{folded(module)}@{cell}")


def list_key(digest: bytes) -> bytes:
    """Of the list of offers with that SHA-256."""
    return dht_key(f"list:{digest.hex()}")


def index_key(module: str) -> bytes:
    """Of the index records of a module: where its bundles are."""
    return dht_key(f"index:{folded(module)}")


def keys_of(record: NodeRecord) -> tuple[Place, ...]:
    """All keys under which a record is advertised, those first which most look for.

    Args:
        record: whole, as before `split`.
    """
    cells = () if record.location is None else tuple(cell_of(record.location, size) for size in SIZES)
    texts: dict[str, str | None] = {f"node:{record.node_id}": None}
    for kind, offers in (("block", record.blocks), ("module", record.modules)):
        for name in _names(offers):
            texts[f"{kind}:{name}"] = name
            texts.update({f"{kind}:{name}@{cell}": name for cell in cells})
    texts.update({f"cell:{cell}": None for cell in cells})
    return tuple(Place(dht_key(text), text, offer) for text, offer in texts.items())


def _names(offers: tuple[Offer, ...]) -> list[str]:
    return list(dict.fromkeys(folded(each.name) for each in offers))[:ADVERTISED_MAX]
