"""An NSLP in memory, and what it sends."""

from collections.abc import Callable

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.config import NSLP_NETSERV
from netserv.signaling.gist.objects.mri import Direction, PathCoupledMri
from netserv.signaling.gist.service import (
    MessageStatus,
    NetworkNotification,
    NotificationKind,
    Peering,
    RecvMessage,
    SendMessage,
    TransferAttributes,
)

RELIABLE = TransferAttributes(reliable=True)
SECURE = TransferAttributes(reliable=True, secure=True)


def flow(source: str, destination: str, direction: Direction = Direction.DOWNSTREAM, port: int = 80) -> PathCoupledMri:
    """The MRI of one TCP flow."""
    one, other = packed(source), packed(destination)
    bits = 8 * len(one)
    return PathCoupledMri(
        source=one,
        destination=other,
        source_prefix=bits,
        destination_prefix=bits,
        direction=direction,
        protocol=6,
        source_port=1234,
        destination_port=port,
    )


def message(
    mri: PathCoupledMri,
    data: bytes = b"data",
    *,
    sid: bytes = b"S" * 16,
    handle: int | None = None,
    attributes: TransferAttributes = RELIABLE,
    **more,
) -> SendMessage:
    """What an NSLP sends; the data are padded to words."""
    return SendMessage(
        nslp_id=NSLP_NETSERV,
        sid=sid,
        mri=mri,
        data=data + bytes(-len(data) % 4),
        handle=handle,
        attributes=attributes,
        **more,
    )


class Recorder:
    """An NSLP that remembers; it peers unless told otherwise."""

    def __init__(self) -> None:
        self.peer = True
        self.payload: bytes | None = None
        self.asked: list[RecvMessage] = []
        self.received: list[RecvMessage] = []
        self.reported: list[MessageStatus] = []
        self.notified: list[NetworkNotification] = []
        self.on_received: Callable[[RecvMessage], None] = lambda _: None

    def peering(self, query: RecvMessage, now: float) -> Peering:
        self.asked.append(query)
        return Peering(peer=self.peer, payload=self.payload)

    def data(self) -> list[bytes]:
        return [one.data.rstrip(b"\0") for one in self.received]

    def failures(self) -> list[MessageStatus]:
        return [one for one in self.reported if one.failure is not None]

    def notifications(self, kind: NotificationKind) -> list[NetworkNotification]:
        return [one for one in self.notified if one.kind is kind]
