"""Bundles of modules in the index: asks the DHT, and takes what somebody signs who is believed."""

import time

from netserv_discovery.dht_io import Dht
from netserv_discovery.index import Choice, Publishers, choose
from netserv_discovery.keys import index_key
from netserv_discovery.versions import Need


async def locate(dht: Dht, need: Need, believed: Publishers) -> Choice:
    """Return where bundles of a module are.

    Args:
        dht: where to look.
        need: module and versions.
        believed: publishers whose word counts.

    Raises:
        UnreachableError: the DHT does not answer.
    """
    values = await dht.get(index_key(need.name))
    return choose((each.value for each in values), need, believed, time.time())
