"""What a heartbeat tells beside the membership."""

import msgspec

from dhtboot.ids import Address
from mdht.subnet.messages import HASH_BYTES


class Report(msgspec.Struct):
    """Kept up to date by the layers above."""

    load: int = 0
    node_state_hash: bytes = bytes(HASH_BYTES)
    data_root: bytes = bytes(HASH_BYTES)
    last_put: int = 0
    mapped: Address | None = None
    unlisted: bool = False
