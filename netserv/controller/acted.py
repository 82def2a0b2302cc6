"""Requests that were acted on, also before this start of the node: none is acted on again.

The NSLP remembers nonces while requests are valid by the wall clock (`replay`). These here outlive a restart and a
clock that is moved, since they go by the time that has passed.
"""

from collections import OrderedDict
from typing import Final

from netserv.signaling.nslp.codes import Code, NslpError

KEPT_S: Final = 86_400.0
"Requests expire within an hour; a clock that is set back by less than a day makes none valid that is forgotten here."
KEPT_MAX: Final = 65_536
"As many as the NSLP remembers; 10 MB."
OF_PUBLISHER_MAX: Final = 8_192
"Of these, one publisher's; when they are that many, its first is forgotten."


class ActedOn:
    """Nonces, by public key."""

    def __init__(self) -> None:
        self._known: dict[bytes, OrderedDict[bytes, float]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, publisher: bytes, nonce: bytes, now: float) -> None:
        """Note one.

        Raises:
            NslpError: it is noted already (403), or there is no room (429).
        """
        known = self._known.setdefault(publisher, OrderedDict())
        while known and next(iter(known.values())) <= now:
            known.popitem(last=False)
            self._count -= 1
        if nonce in known:
            raise NslpError("this request was acted on before: sign a new one", code=Code.FORBIDDEN)
        if len(known) >= OF_PUBLISHER_MAX:
            known.popitem(last=False)
            self._count -= 1
        if self._count >= KEPT_MAX:
            self._forget(now)
        if self._count >= KEPT_MAX:
            raise NslpError("too many requests are remembered here: try again later", code=Code.TOO_MANY)
        known[nonce] = now + KEPT_S
        self._count += 1

    def _forget(self, now: float) -> None:
        """Drop what is old, of everybody."""
        for publisher, known in list(self._known.items()):
            while known and next(iter(known.values())) <= now:
                known.popitem(last=False)
                self._count -= 1
            if not known:
                del self._known[publisher]
