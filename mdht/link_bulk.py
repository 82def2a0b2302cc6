"""Carries what is too large for datagrams between the hosts of a link: TCP, at the number of their UDP port.

One connection is one transfer; see `mdht.subnet.bulk_wire` for what is said on it. Whatever goes wrong with one is
counted, and whoever wanted it is told that it has failed.
"""

import errno
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

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

log = logging.getLogger(__name__)

TRANSFER_S: Final = 30.0
"A connection is cut after this: a full key of 1 MiB at 300 kbit/s, as `StoreConfig.bulk_s` has it."
SERVED_MAX: Final = 64
"Connections of others at a time."
SERVED_PER_HOST_MAX: Final = 8
CALLED_MAX: Final = 32
"Own connections at a time; the others wait for their turn."
_READ_BYTES: Final = 65_536


class BulkCore(Protocol):
    """What the channel needs of a host; `SubnetHost` is one."""

    @property
    def hid(self) -> bytes:
        """Own name."""

    @property
    def tag(self) -> bytes:
        """Of the subnet that this host is in."""

    def records(self, key: bytes, now: float) -> tuple[bytes, ...]:
        """What it holds under a key, as that travels."""

    def take_bulk(self, hid: bytes, records: Sequence[bytes], now: float) -> tuple[tuple[AckStatus, ...], list[Any]]:
        """Store what a sibling sends: a status for each, and what the host wants done."""

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
        self._calls = trio.CapacityLimiter(CALLED_MAX)

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
        await connection.say(Greeting(nonce=self._draw(NONCE_BYTES), hid=self._core.hid))
        match await connection.hear():
            case Fetching(subnet_tag=tag, key=key):
                self._same_subnet(tag)
                for page in pages(self._core.records(key, trio.current_time())):
                    await connection.say(page)
                self.counters["bulk_served"] += 1
            case Sending(subnet_tag=tag, hid=hid):
                self._same_subnet(tag)
                records = await connection.hear_records()
                statuses, effects = self._core.take_bulk(hid, records, trio.current_time())
                self._perform(effects)
                await connection.say(Statuses(statuses=statuses))
                self.counters["bulk_taken"] += 1
            case said:
                raise WireError(f"{type(said).__name__} is no beginning")

    def _same_subnet(self, tag: bytes) -> None:
        if tag != self._core.tag:
            raise WireError("of another subnet")

    # ---- calling others ------------------------------------------------------------------------------------------

    async def fetch(self, to: Address, qid: bytes, key: bytes) -> tuple[bytes, ...]:
        """All records of a key that a host holds; none when the transfer has failed."""

        async def call(connection: _Connection) -> tuple[bytes, ...]:
            await connection.greeted()
            await connection.say(Fetching(subnet_tag=self._core.tag, hid=self._core.hid, qid=qid, key=key))
            return await connection.hear_records()

        return await self._call(to, call) or ()

    async def send(self, to: Address, qid: bytes, records: Sequence[bytes]) -> tuple[AckStatus, ...]:
        """Have a host store records; a status for each, none when the transfer has failed."""

        async def call(connection: _Connection) -> tuple[AckStatus, ...]:
            await connection.greeted()
            await connection.say(Sending(subnet_tag=self._core.tag, hid=self._core.hid, qid=qid))
            for page in pages(records):
                await connection.say(page)
            answer = await connection.hear()
            if not isinstance(answer, Statuses) or len(answer.statuses) > len(records):
                raise WireError(f"{type(answer).__name__} is no answer")
            return answer.statuses

        return await self._call(to, call) or ()

    async def _call(self, to: Address, call: Callable[["_Connection"], Any]) -> Any:
        async def connected() -> Any:
            async with self._calls, await self._link.connect(to) as stream:
                return await call(_Connection(stream, self._codec()))

        found = await self._bounded(connected)
        self.counters["bulk_calls" if found is not None else "bulk_calls_failed"] += 1
        if found is None:
            log.debug("no transfer with %s", format_address(to))
        return found

    async def transfer(self, wanted: FetchBulk | BulkTo) -> None:
        """Do what the host wants, and tell it what has come of it."""
        match wanted:
            case FetchBulk(hid=hid, to=to, message=fetch):
                found = await self.fetch(to, fetch.qid, fetch.key)
                self._perform(self._core.on_bulk(fetch.qid, hid, found, trio.current_time()))
            case BulkTo(to=to, qid=qid, records=records):
                statuses = await self.send(to, qid, records)
                self._perform(self._core.on_bulk_sent(qid, statuses, trio.current_time()))

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

    async def greeted(self) -> None:
        said = await self.hear()
        if not isinstance(said, Greeting):
            raise WireError(f"{type(said).__name__} is no greeting")

    async def hear_records(self) -> tuple[bytes, ...]:
        """All pages of a transfer."""
        gauge, found = Gauge(), list[bytes]()
        while True:
            page = await self.hear()
            if not isinstance(page, Records):
                raise WireError(f"{type(page).__name__} among records")
            gauge.add(page)
            found += page.records
            if not page.more:
                return tuple(found)
