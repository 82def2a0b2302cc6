"""Asks the kernel what interfaces can do with XDP (generic netlink, family `netdev`, from Linux 6.3 on)."""

import struct
from typing import Final

from netserv.signaling.transport import netlink

_GENERIC: Final = 16
_CONTROL: Final = 16
_GET_FAMILY: Final = 3
_FAMILY_ID: Final = 1
_FAMILY_NAME: Final = 2
_GET_DEVICE: Final = 1
_INDEX: Final = 1
_FEATURES: Final = 3
_MAY_REDIRECT: Final = 1 << 2
_HEADER: Final = struct.Struct("=BBH")
_NUMBER: Final = struct.Struct("=I")


def may_redirect_to(interface: int) -> bool:
    """Whether frames that XDP redirects to an interface leave by it; False where the kernel does not say.

    A veth takes them only while its other end polls (it has an XDP program, or GRO): else they would be lost.
    """
    try:
        asking = netlink.NetlinkSocket(_GENERIC)
    except OSError:
        return False
    try:
        named = _HEADER.pack(_GET_FAMILY, 1, 0) + netlink.attribute(_FAMILY_NAME, b"netdev\0")
        (family,) = asking.ask(_CONTROL, 0, named)
        number = int.from_bytes(netlink.attributes(family.body, _HEADER.size)[_FAMILY_ID][:2], "little")
        question = _HEADER.pack(_GET_DEVICE, 1, 0) + netlink.attribute(_INDEX, _NUMBER.pack(interface))
        (device,) = asking.ask(number, 0, question)
        features = netlink.attributes(device.body, _HEADER.size).get(_FEATURES, b"")
        return bool(int.from_bytes(features, "little") & _MAY_REDIRECT)
    except (OSError, ValueError, KeyError, netlink.NetlinkError):
        return False
    finally:
        asking.close()
