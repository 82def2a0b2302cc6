"""How a message of an NSLP leaves by a row that leads somewhere: association or datagram (RFC 5971 section 4.3.3)."""

from netserv.signaling.gist import backlog
from netserv.signaling.gist.addresses import GIST_PORT
from netserv.signaling.gist.association import Association
from netserv.signaling.gist.associations import Associations
from netserv.signaling.gist.commons import D_MODE_MAX, Commons
from netserv.signaling.gist.outbox import Outbox, fits_d_mode
from netserv.signaling.gist.routing_state import Row
from netserv.signaling.gist.service import SendFailure, SendMessage, SiiHandle, TransferAttributes


class Transmission:
    """Sends NSLP data by rows; a row that has an association uses nothing else."""

    __slots__ = ("_associations", "_commons", "_outbox")

    def __init__(self, commons: Commons, outbox: Outbox, associations: Associations) -> None:
        self._commons = commons
        self._outbox = outbox
        self._associations = associations

    def needs_association(self, message: SendMessage) -> bool:
        """Reliable, to be kept secret, or too large for a datagram."""
        attributes = message.attributes
        return attributes.reliable or attributes.secure or self.size_in_datagram(message) > D_MODE_MAX

    def size_in_datagram(self, message: SendMessage) -> int:
        """Bytes of Data with its NLI: header, MRI, SID, NLI, payload; without the magic number."""
        mri = message.mri.encode()
        address = 16 if len(mri) > 36 else 4
        nli = 4 + 8 + ((len(self._commons.identity) + 3) & ~3) + address
        return 8 + 4 + len(mri) + 20 + nli + 4 + len(message.data)

    def waits(self, row: Row, message: SendMessage) -> bool:
        """Whether a message cannot leave by that row as it is: it needs an association, and there is none for it."""
        association = row.association
        if association is None:
            return self.needs_association(message)
        return message.attributes.secure and not association.secure

    def send(self, row: Row, message: SendMessage, source_port: int, now: float) -> None:
        """Send now; the row leads somewhere, and the message need not wait.

        Args:
            row: one with a peer.
            message: one that `waits` does not hold.
            source_port: of datagrams.
            now: the time, s.
        """
        association = row.association
        if association is not None:
            self._on(association, row, message, now)
            return
        peer = row.peer
        way = None if peer is None else self._commons.topology.outgoing(peer.address)
        if peer is None or way is None:
            self._commons.report(message, SendFailure.UNREACHABLE)
        elif not fits_d_mode(self.size_in_datagram(message), way):
            self._commons.report(message, SendFailure.TOO_LARGE)
        elif self._outbox.data_to(message, peer, source_port, now, distance=row.distance, e=False):
            self._commons.report(message, None, TransferAttributes())
        else:
            self._commons.report(message, SendFailure.RATE_LIMITED)

    def send_explicitly(self, message: SendMessage, sii: SiiHandle, now: float) -> None:
        """Send by an SII handle, past the routing state (section 7.1.4)."""
        association = self._associations.get(sii.association)
        if association is not None and association.peer_identity != sii.peer_identity:
            association = None
        secure = message.attributes.secure
        if association is None and self.needs_association(message):
            association = self._associations.with_peer(sii.peer_identity, sii.address, secure=secure)
            if association is None:
                self._commons.report(message, SendFailure.SECURITY if secure else SendFailure.TRANSPORT)
                return
        if association is not None:
            self._on(association, None, message, now)
            return
        port = self._commons.config.port if sii.port == GIST_PORT else GIST_PORT
        if self._outbox.data_to(message, sii, port, now, distance=0, e=True):
            self._commons.report(message, None, TransferAttributes())
        else:
            self._commons.report(message, SendFailure.RATE_LIMITED)

    def flush(self, row: Row, source_port: int, now: float) -> None:
        """Send all that waits in a row and now can leave, in its order."""
        while row.queue is not None and not self.waits(row, row.queue[0][0]):
            self.send(row, backlog.pop(self._commons, row), source_port, now)

    def _on(self, association: Association, row: Row | None, message: SendMessage, now: float) -> None:
        tracked = message.attributes.reliable or message.handle is not None
        of = (row, message) if tracked else None
        if self._associations.send(
            association, self._outbox.data(message, None, explicitly_routed=row is None), now, of=of
        ):
            self._commons.report(message, None, TransferAttributes(reliable=True, secure=association.secure))
        else:
            self._commons.report(message, SendFailure.RATE_LIMITED)
