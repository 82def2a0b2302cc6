"""What a host's share of its subnet's records wants done, and what it has to tell the layers above."""

import msgspec

from dhtboot.ids import Address
from mdht.subnet.effects import Effect
from mdht.subnet.query import FetchBulk


class BulkTo(msgspec.Struct, frozen=True):
    """Send a host records over the bulk channel; tell `SiblingStore.on_bulk_sent` what has come of it."""

    hid: bytes
    to: Address
    qid: bytes
    "8 bytes: which transfer it is."
    records: tuple[bytes, ...]


class Synced(msgspec.Struct, frozen=True):
    """This newcomer has what it can get, and may be READY."""

    partial: bool
    "Something is missing: a sibling did not answer, or there was no time."


class HandedOver(msgspec.Struct, frozen=True):
    """This host may say goodbye."""

    complete: bool
    "Others have acknowledged all that they must have; else its BYE must not say that it has handed over."


class KeyLost(msgspec.Struct, frozen=True):
    """No host of the subnet holds the key any more; neighbours in the overlay may."""

    key: bytes


StoreEffect = Effect | FetchBulk | BulkTo | Synced | HandedOver | KeyLost
