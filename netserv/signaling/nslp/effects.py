"""What the NSLP wants done: by GIST below it, and for whoever has asked it."""

from typing import TypeAlias

import msgspec

from netserv.signaling.gist.objects.mri import Mri
from netserv.signaling.gist.service import SendMessage
from netserv.signaling.nslp.responses import Response


class SetStateLifetime(msgspec.Struct, frozen=True, kw_only=True):
    """Tell GIST how long routing state is wanted (RFC 5971 appendix B.5)."""

    nslp_id: int
    mri: Mri
    "Its direction says which of a flow's two rows."
    sid: bytes | None
    lifetime_s: float
    "0: not any more."


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A request of our own has its answer."""

    nonce: bytes
    "`request_id` of the request."
    response: Response


class Abandoned(msgspec.Struct, frozen=True, kw_only=True):
    """A request of our own gets none."""

    nonce: bytes
    reason: str
    no_node: bool = False
    "GIST says that no NetServ node is on the path."


NslpEffect: TypeAlias = SendMessage | SetStateLifetime | Answered | Abandoned
