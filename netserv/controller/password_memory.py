"""One-time passwords that were used here, and how often hosts are asked for them."""

import hashlib
from collections import OrderedDict
from typing import Final

from netserv.signaling.gist.rate import SourceLimits
from netserv.signaling.nslp.codes import Code, NslpError

KEPT_S: Final = 86_400.0
"A request expires within the hour; a clock that is moved by less than a day brings none back."
KEPT_MAX: Final = 65_536
"Of 32 bytes each, about 8 MB; 45 a minute for a day. When it is full, no more checks are made."
CHECKS_PER_S: Final = 1.0
"Of one host: a short GET a second is no attack on one that knows nothing of it."
PUBLISHER_CHECKS_PER_S: Final = 4.0
"Of one publisher, whose servers are a few."


class PasswordMemory:
    """Lets a password be used once, and a host be asked seldom.

    Args:
        now: the time, s.
    """

    def __init__(self, now: float) -> None:
        self._used: OrderedDict[bytes, float] = OrderedDict()
        self._hosts = SourceLimits(CHECKS_PER_S, now)
        self._publishers = SourceLimits(PUBLISHER_CHECKS_PER_S, now)

    def use(self, user: str, password: str, address: bytes, now: float) -> None:
        """Note that a password is about to be checked.

        Raises:
            NslpError: it was used before (403), or too many are checked (429).
        """
        while self._used and next(iter(self._used.values())) <= now:
            self._used.popitem(last=False)
        known = hashlib.sha256(f"{user}\0{password}".encode()).digest()
        if known in self._used:
            raise NslpError("this password was used here before; make a new one", code=Code.FORBIDDEN)
        if len(self._used) >= KEPT_MAX:
            raise NslpError("too many passwords are remembered here: try again later", code=Code.TOO_MANY)
        if not self._publishers.take(user, now) or not self._hosts.take(address, now):
            raise NslpError("too many checks of routability: try again in a minute", code=Code.TOO_MANY)
        self._used[known] = now + KEPT_S
