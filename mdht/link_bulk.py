"""Carries what is too large for datagrams between the hosts of a link: TCP, at the number of their UDP port.

One connection is one transfer; see `mdht.subnet.bulk_wire` for what is said on it. Whatever goes wrong with one is
counted, and whoever wanted it is told that it has failed.
"""

import errno
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

import trio

from dhtboot.ids import Address, format_address
from mdht.subnet.bulk_wire import (
    NONCE_BYTES,
    BulkCodec,
    Fetching,
    Gauge,
    Greeting,
    Records,
    Said,
    Sending,
    Statuses,
    pages,
)
from mdht.subnet.errors import WireError
from mdht.subnet.messages import AckStatus
from mdht.subnet.query import FetchBulk
from mdht.subnet.store_effects import BulkTo
from mdht.wire import aged

log = logging.getLogger(__name__)

TRANSFER_S: Final = 30.0
"""For all of a transfer, waiting for its turn too: a full key of 1 MiB at 300 kbit/s. Then the core has given it up
(`StoreConfig.bulk_s`)."""
GREET_S: Final = 5.0
"To connect, and until the other one has said its first: a lost SYN is sent again after 1 s, and after 3 s."
SERVED_MAX: Final = 64
"Connections of others at a time."
SERVED_PER_HOST_MAX: Final = 8
CALLED_MAX: Final = 32
"Own connections at a time; the others wait for their turn."
CALLED_PER_HOST_MAX: Final = 4
"Of them to one host: it is kept busy, and nobody waits for it who wants another one."
WANTED_MAX: Final = 1_024
"Transfers under way or waiting: a core sends at once whatever a newcomer is to have."
WANTED_BYTES_MAX: Final = 67_108_864
"Of records to be sent: as many as a table holds. The core tries again 2 s later what is refused."
_READ_BYTES: Final = 65_536


class BulkCore(Protocol):
    """What the channel needs of a host; `SubnetHost` is one."""

    @property
    def hid(self) -> bytes:
        """Own name."""

    @property
    def tag(self) -> bytes:
        """Of the subnet that this host is in."""

    def records(self, key: bytes, now: float, *, cached: bool) -> tuple[bytes, ...]:
        """What it holds under a key, or has cached, as that travels."""

    def take_bulk(self, hid: bytes, records: Sequence[bytes], now: float) -> tuple[tuple[AckStatus, ...], list[Any]]:
        """Store what a sibling sends: a status for each, none for a stranger, and what the host wants done."""

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], now: float) -> list[Any]:
        """What a host has sent that was asked; nothing where the transfer has failed."""

    def on_bulk_sent(self, qid: bytes, statuses: Sequence[AckStatus], now: float) -> list[Any]:
        """What has become of what was sent to a host; nothing where the transfer has failed."""


class BulkLink(Protocol):
    """What it needs of the sockets; `mdht.link_io.UdpLink` is one."""

    def reaches(self, address: Address) -> bool:
        """Whether an address is one of the link."""

    async def connect(self, to: Address) -> trio.SocketStream:
        """Open a connection to a host of the link; raises `OSError`."""


class BulkChannel:
    """That of one host.

    Args:
        core: the host.
        link: its sockets.
        overlay: name of the overlay.
        keys: shared keys, the present one first.
        draw: gives so many unpredictable bytes.
        perform: carries out what the host wants.
        transfer_s: after which a connection is cut.

    Attributes:
        counters: of transfers, and of each reason for one to fail.
    """

    def __init__(
        self,
        core: BulkCore,
        link: BulkLink,
        overlay: str,
        keys: Sequence[bytes],
        *,
        draw: Callable[[int], bytes],
        perform: Callable[[Iterable[Any]], None],
        transfer_s: float = TRANSFER_S,
    ) -> None:
        self.counters: Counter[str] = Counter()
        self._core = core
        self._link = link
        self._overlay = overlay
        self._keys = tuple(keys)
        self._draw = draw
        self._perform = perform
        self._transfer_s = transfer_s
        self._served: Counter[str] = Counter()
        self._calls = trio.Semaphore(CALLED_MAX)
        self._calls_to: WeakValueDictionary[Address, trio.Semaphore] = WeakValueDictionary()
        self._wanted = self._bytes_wanted = 0

    # ---- called by others ----------------------------------------------------------------------------------------

    async def serve(self, stream: trio.SocketStream) -> None:
        """Answer one connection; whatever its other end does stays here."""
        async with stream:
            try:
                host = str(stream.socket.getpeername()[0]).partition("%")[0]
            except OSError:
                self.counters["bulk_broken"] += 1  # gone before it was looked at
                return
            if not self._link.reaches((host, 0)):
                self.counters["bulk_off_link"] += 1
                return
            if self._served.total() >= SERVED_MAX or self._served[host] >= SERVED_PER_HOST_MAX:
                self.counters["bulk_turned_away"] += 1
                return
            self._served[host] += 1
            try:
                await self._bounded(self._answer, _Connection(stream, self._codec()))
            finally:
                self._served[host] -= 1
                self._served += Counter()  # without those that have none

    async def _answer(self, connection: "_Connection") -> None:
        greeted_at = trio.current_time()
        await connection.say(Greeting(nonce=self._draw(NONCE_BYTES), hid=self._core.hid))
        match await connection.hear():
            case Fetching(subnet_tag=tag, key=key, cached=cached):
                self._same_subnet(tag)
                for page in pages(self._core.records(key, trio.current_time(), cached=bool(cached))):
                    await connection.say(page)
                self.counters["bulk_served"] += 1
            case Sending(subnet_tag=tag, hid=hid):
                self._same_subnet(tag)
                statuses: list[AckStatus] = []
                await connection.hear_records(lambda page: statuses.extend(self._take(hid, page, greeted_at)))
                await connection.say(Statuses(statuses=tuple(statuses)))
                self.counters["bulk_taken"] += 1
            case said:
                raise WireError(f"{type(said).__name__} is no beginning")

    def _take(self, hid: bytes, records: Sequence[bytes], greeted_at: float) -> tuple[AckStatus, ...]:
        """Store a frame of records: to check the signatures of a whole key at once would hold up all else for 0.2 s."""
        now = trio.current_time()
        younger = [aged(record, now - greeted_at) for record in records]  # they were read after the greeting
        statuses, effects = self._core.take_bulk(hid, younger, now)
        self._perform(effects)
        if len(statuses) != len(records):
            raise WireError("of no sibling")
        return statuses

    def _same_subnet(self, tag: bytes) -> None:
        if tag != self._core.tag:
            raise WireError("of another subnet")

    # ---- calling others ------------------------------------------------------------------------------------------

    async def transfer(self, wanted: FetchBulk | BulkTo) -> None:
        """Do what the host wants, and tell it what has come of it."""
        now = trio.current_time
        match wanted:
            case FetchBulk(hid=hid, message=fetch):
                found = await self._bounded(self._call, wanted, 0, self._fetch)
                effects = self._core.on_bulk(fetch.qid, hid, found or (), now())
            case BulkTo(qid=qid, records=records):
                found = await self._bounded(self._call, wanted, sum(map(len, records)), self._send)
                effects = self._core.on_bulk_sent(qid, found or (), now())
        self.counters["bulk_calls" if found is not None else "bulk_calls_failed"] += 1
        if found is None:
            log.debug("no transfer with %s", format_address(wanted.to))
        self._perform(effects)

    async def _fetch(self, connection: "_Connection", wanted: FetchBulk, _waited_s: float) -> tuple[bytes, ...]:
        """All records of a key that the host holds."""
        fetch = wanted.message
        tag, hid = self._core.tag, self._core.hid
        await connection.say(Fetching(subnet_tag=tag, hid=hid, qid=fetch.qid, key=fetch.key, cached=fetch.cached))
        found: list[bytes] = []
        await connection.hear_records(found.extend)
        return tuple(found)

    async def _send(self, connection: "_Connection", wanted: BulkTo, waited_s: float) -> tuple[AckStatus, ...]:
        """Have the host store records; a status for each."""
        await connection.say(Sending(subnet_tag=self._core.tag, hid=self._core.hid, qid=wanted.qid))
        for page in pages([aged(record, waited_s) for record in wanted.records]):
            await connection.say(page)
        answer = await connection.hear()
        if not isinstance(answer, Statuses) or len(answer.statuses) != len(wanted.records):
            raise WireError(f"{type(answer).__name__} is no answer")
        return answer.statuses

    async def _call(self, wanted: FetchBulk | BulkTo, size: int, talk: Callable[..., Any]) -> Any:
        """Connect to a host when its turn has come, make sure that it is he, and talk."""
        if self._wanted >= WANTED_MAX or self._bytes_wanted + size > WANTED_BYTES_MAX:
            raise ValueError("too many transfers wait already")
        began_at = trio.current_time()
        turn = self._calls_to.setdefault(wanted.to, trio.Semaphore(CALLED_PER_HOST_MAX))
        self._wanted += 1
        self._bytes_wanted += size
        try:
            async with turn, self._calls:  # in this order: who waits for a slow host is in nobody else's way
                with trio.move_on_after(GREET_S) as patience:
                    async with await self._link.connect(wanted.to) as stream:
                        connection = _Connection(stream, self._codec())
                        await connection.greeted_by(wanted.hid)
                        patience.deadline = math.inf
                        return await talk(connection, wanted, trio.current_time() - began_at)
                raise trio.TooSlowError("no greeting")
        finally:
            self._wanted -= 1
            self._bytes_wanted -= size

    # ---- both ----------------------------------------------------------------------------------------------------

    def _codec(self) -> BulkCodec:
        return BulkCodec(self._overlay, self._keys)

    async def _bounded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Do something while there is time; None, counted, where it fails."""
        with trio.move_on_after(self._transfer_s):
            try:
                return await work(*arguments)
            except (WireError, ValueError) as error:
                self.counters["bulk_refused"] += 1
                log.debug("refused a transfer: %s", error)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self.counters["bulk_broken"] += 1
                code = errno.errorcode.get(getattr(error, "errno", None) or 0, "")
                log.debug("a transfer broke off: %s", code or error)
            except trio.TooSlowError:
                self.counters["bulk_late"] += 1
            return None
        self.counters["bulk_late"] += 1
        return None


class _Connection:
    """One connection as a conversation."""

    def __init__(self, stream: trio.abc.Stream, codec: BulkCodec) -> None:
        self._stream = stream
        self._codec = codec

    async def say(self, said: Said) -> None:
        await self._stream.send_all(self._codec.encode(said))

    async def hear(self) -> Said:
        """What the other one says next.

        Raises:
            WireError: it is nothing that belongs here.
            trio.BrokenResourceError: the other one has hung up.
        """
        while (said := self._codec.next_said()) is None:
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                raise trio.BrokenResourceError("the other end has hung up")
            self._codec.feed(bytes(data))
        return said

    async def greeted_by(self, hid: bytes) -> None:
        """Make sure who has been called."""
        said = await self.hear()
        if not isinstance(said, Greeting):
            raise WireError(f"{type(said).__name__} is no greeting")
        if said.hid != hid:
            raise WireError("somebody else is there now")

    async def hear_records(self, take: Callable[[tuple[bytes, ...]], None]) -> None:
        """All records of a transfer, a frame at a time."""
        gauge = Gauge()
        while True:
            page = await self.hear()
            if not isinstance(page, Records):
                raise WireError(f"{type(page).__name__} among records")
            gauge.add(page)
            take(page.records)
            if not page.more:
                return
