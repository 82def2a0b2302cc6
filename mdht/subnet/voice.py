"""What a host says to all about itself and its subnet."""

from dhtboot.ids import Address
from mdht.subnet.effects import Multicast
from mdht.subnet.identity import NO_TAG, Subnet
from mdht.subnet.messages import Bye, Hello, Here, State, Want
from mdht.subnet.report import Report
from mdht.subnet.view import View


class Voice:
    """Makes the messages; when they are said is not its business.

    Args:
        hid: own name.
        addresses: where others reach this host.
        overlay_hash: SHA-1 of the overlay's name.
        report: what heartbeats tell of the layers above.

    Attributes:
        subnet: which one this host is in; None as long as it is in none.
        handed_over: whether this host has given its records away, which its goodbye tells.
    """

    def __init__(self, hid: bytes, addresses: tuple[Address, ...], overlay_hash: bytes, report: Report) -> None:
        self.subnet: Subnet | None = None
        self.handed_over = False
        self._hid = hid
        self._addresses = addresses
        self._overlay_hash = overlay_hash
        self._report = report
        self._founded_at = 0.0

    def settle(self, subnet: Subnet | None, founded_at: float) -> None:
        """This host is in another subnet from now on, or in none."""
        self.subnet = subnet
        self._founded_at = founded_at

    def is_strange(self, tag: bytes) -> bool:
        """Whether the sender of that tag is in another subnet; who is in none yet may come into this one."""
        return self.subnet is not None and tag not in {self.subnet.tag, NO_TAG}

    def hello(self, want: Want) -> Multicast:
        """Is anybody here?"""
        return Multicast(Hello(want=want, addresses=self._addresses, overlay_hash=self._overlay_hash))

    def bye(self) -> Multicast:
        """I go."""
        return Multicast(Bye(handed_over=self.handed_over))

    def here(
        self, state: State, incarnation: int, view: View, unheard: list[bytes], now: float, *, introduce: bool
    ) -> Multicast:
        """I am here.

        Args:
            state: what this host is.
            incarnation: its number.
            view: the other members.
            unheard: those not heard by multicast.
            now: the time.
            introduce: tell the subnet's identity too.
        """
        told = self.subnet if introduce else None
        members = len(view.live)
        heard = members - len(unheard)
        here = Here(
            state=state,
            addresses=self._addresses,
            load=self._report.load,
            size=members + 1,
            heard=heard,
            view_epoch=view.epoch,
            view_hash=view.hash(self._hid, incarnation),
            node_state_hash=self._report.node_state_hash,
            data_root=self._report.data_root,
            last_put=self._report.last_put,
            mapped=self._report.mapped,
            unlisted=self._report.unlisted or None,
            identity=None if told is None else told.identity,
            founded_s=None if told is None else int(now - self._founded_at),
            policy=None if told is None else told.policy or None,
            unheard=tuple(unheard) if heard else (),
        )
        return Multicast(here)
