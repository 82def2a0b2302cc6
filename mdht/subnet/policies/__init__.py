"""How many copies a subnet keeps of a record, and where (mDHT design, section 9)."""

import re
from typing import Final

from mdht.errors import LocalProtocolError
from mdht.subnet.policies.adaptive import Adaptive
from mdht.subnet.policies.base import (
    Action,
    Announce,
    CopyTo,
    DropAfterAck,
    KeyStats,
    Lost,
    Policy,
    PullFrom,
    Scene,
)
from mdht.subnet.policies.fixed import Fixed, Placement
from mdht.subnet.policies.full import Full
from mdht.subnet.policies.single import Single

__all__ = [
    "Action",
    "Adaptive",
    "Announce",
    "CopyTo",
    "DropAfterAck",
    "Fixed",
    "Full",
    "KeyStats",
    "Lost",
    "Placement",
    "Policy",
    "PullFrom",
    "Scene",
    "Single",
    "policy_from",
]

_NAME: Final = re.compile(
    r"(?P<single>single)|(?P<full>full)"
    r"|fixed:(?P<replicas>[0-9]{1,3})(:(?P<placement>hrw|receiver))?"
    r"|adaptive:(?P<least>[0-9]{1,3}):(?P<rate>[0-9]{1,4}(\.[0-9]{1,20})?)"
)
_SHOWN_MAX: Final = 40


def policy_from(text: str) -> Policy:
    """A new policy of a name, as the command line takes it and as siblings tell it to a joiner.

    Raises:
        LocalProtocolError: no policy has that name; the text lists those there are.
    """
    found = _NAME.fullmatch(text)
    try:
        if found is not None and found["single"]:
            return Single()
        if found is not None and found["full"]:
            return Full()
        if found is not None and found["replicas"]:
            return Fixed(int(found["replicas"]), Placement(found["placement"] or Placement.HRW.value))
        if found is not None:
            return Adaptive(int(found["least"]), float(found["rate"]))
    except ValueError:
        pass  # a number out of bounds; the error below says which these are
    raise LocalProtocolError(
        f"no replication policy: {text[:_SHOWN_MAX]!r}; there are single, full, fixed:N, fixed:N:receiver and "
        f"adaptive:N:RATE, with 1 to 255 replicas N and 0.001 to 1000 lookups a second"
    )
