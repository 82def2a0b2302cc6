"""Building blocks: what a node has ready for modules (thesis 5.3), and advertises.

A module names what it needs in `requires`, `http-server>=1.0`, and imports it from here; a node that has no such block,
or an older one, refuses the module before it fetches anything.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

BLOCKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dispatcher": "1.0.0",
        "http-client": "1.0.0",
        "http-server": "1.0.0",
        "metrics": "1.0.0",
        "sip": "1.0.0",
        "sip-plain": "1.1.0",
        "storage": "1.0.0",
        "timers": "1.0.0",
        "xml-rpc": "1.0.0",
    }
)
"Name and version; the file is named as the block, with `_` for `-`. What only adds raises the second number."
