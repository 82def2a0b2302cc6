"""The memory that a container and the packet broker share: packets go one way, verdicts the other.

`Ring` makes it, on the node's side; `BoxEnd` uses it inside the container, `BrokerEnd` (broker_end.py) in the broker.
The standard library only: this file is imported inside containers.

    header      4,096 bytes: settings, and six numbers, each in a cache line of its own
    packets     a descriptor of 16 bytes for each slot: slot, length, filter number, sequence number
    answers     descriptors of 16 bytes, for all slots: slot, verdict, length, sequence number or filter number
    slots       those of packets, which the broker fills, then those of injected packets, which the container fills

A slot of the broker may have records of flows that the kernel has counted instead of a packet (`COUNTS`).

A producer writes descriptors and then its `head`; numbers count up and wrap at 2^32. A packet slot is lent to the
container until it answers, also where the deadline is over, so that it never writes into a newer packet. What was still
in the ring when its deadline was over is not treated any more: a container that has fallen behind would else treat
nothing but packets that have gone on without it. The container
may scribble on all of it at any time. So the broker keeps all that it needs to itself, and copies before it checks.

Wake-ups are bytes on stream sockets, one pair for each direction. An eventfd would be one description for both sides:
a container could fill its counter, take away O_NONBLOCK, and have the broker sleep for ever when it writes. Either side
may say that it looks by itself, and is not woken then.
"""

import fcntl
import mmap
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeAlias

from netserv.errors import LocalProtocolError, RemoteProtocolError

ACCEPT: Final = 1
"The packet goes on as it came."
DROP: Final = 2
CHANGED: Final = 3
"""What stands in the slot now goes on in its place. A UDP or TCP checksum of 0 is filled in by the broker, and the
checksum of the IPv4 header in any case."""
ACCEPT_FLOW: Final = 4
"As `ACCEPT`; the module need not see more packets of this flow, and may see them all the same."
INJECT: Final = 5
"Not an answer: a packet of the module's own."
COUNT_FLOW: Final = 6
"As `ACCEPT_FLOW`, and what the module does not see of the flow is told in records of `FLOW`."
VERDICTS: Final = frozenset({ACCEPT, DROP, CHANGED, ACCEPT_FLOW, COUNT_FLOW})
COUNTS: Final = 1 << 31
"Beside the number of a filter: in the slot is no packet but records of `FLOW`. Any answer gives the slot back."
FLOW: Final = struct.Struct("=BB2s2sBx16s16sQQ")
"Version, protocol, ports as in the packet, TTL, source, destination; packets and bytes since the last time."

SLOTS: Final = 512
"Packets in the hands of a container: several times 200 us of a full broker. 1 MiB, there only as far as it is used."
SLOT_BYTES: Final = 2_048
"An Ethernet frame with room to grow; larger packets go by the failure policy."
INJECTED_SLOTS: Final = 256
SLOTS_MAX: Final = 16_384
SLOT_BYTES_MAX: Final = 65_536

BATCH_MAX: Final = 128
"Packets before the first of them is answered: at 10 us for each 1.3 ms, well below a deadline of 5 ms."
ROUNDS_MAX: Final = 16
"Batches before something else is looked for."

MAGIC: Final = 0x4E535231
HEADER_BYTES: Final = 4_096
DESCRIPTOR: Final = struct.Struct("=IIII")
SETTINGS: Final = struct.Struct("=IIIII")
"Magic, slots, bytes of a slot, slots of injected packets, descriptors of the answers."
PACKETS_HEAD: Final = 64 // 4
"Where a number stands, in words: written by the broker."
ANSWERS_HEAD: Final = 128 // 4
"By the container."
ANSWERS_TAIL: Final = 192 // 4
"By the broker: what it has read, so that slots of injected packets are free again."
BOX_SLEEPS: Final = 256 // 4
"1: the container waits for its socket; set by it, cleared by the broker."
BROKER_SLEEPS: Final = 320 // 4
"1: the broker waits for its sockets; set and cleared by it. 0: it looks again and again."
LATE_HEAD: Final = 384 // 4
"By the broker: packets before this one are decided without the container, since their deadline is over."
WORD_MASK: Final = 0xFFFFFFFF
_WAKE: Final = b"\1"
_DRAIN_BYTES: Final = 4_096
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"Of a smaller file the broker would be killed by SIGBUS."


class Layout:
    """Where everything stands, from the settings of a ring.

    Raises:
        LocalProtocolError: settings out of bounds.
    """

    __slots__ = ("answers", "answers_at", "injected", "packets_at", "size", "slot_bytes", "slots", "slots_at")

    def __init__(self, slots: int = SLOTS, slot_bytes: int = SLOT_BYTES, injected: int = INJECTED_SLOTS) -> None:
        if not (
            0 < slots <= SLOTS_MAX and 0 < injected <= SLOTS_MAX and slots & slots - 1 == injected & injected - 1 == 0
        ):
            raise LocalProtocolError(f"a ring has 1 to {SLOTS_MAX} slots of each kind, a power of two")
        if not 256 <= slot_bytes <= SLOT_BYTES_MAX or slot_bytes % 64:
            raise LocalProtocolError(f"a slot has 256 to {SLOT_BYTES_MAX} bytes, a multiple of 64")
        self.slots, self.slot_bytes, self.injected = slots, slot_bytes, injected
        self.answers = 2 * max(slots, injected)
        "Each slot has one answer under way at most, so a container that keeps to the rules never finds it full."
        self.packets_at = HEADER_BYTES
        self.answers_at = self.packets_at + slots * DESCRIPTOR.size
        end = self.answers_at + self.answers * DESCRIPTOR.size
        self.slots_at = end + -end % 4_096
        self.size = self.slots_at + (slots + injected) * slot_bytes

    def slot_at(self, slot: int) -> int:
        """Where a slot begins."""
        return self.slots_at + slot * self.slot_bytes


class Ring:
    """A ring with all its descriptors, as the node holds it.

    Args:
        memory: a sealed memory file.
        box: sockets of the container: the one by which it is woken, and the one by which it wakes the broker.
        broker: the other ends of them, in the same order.
    """

    def __init__(
        self, memory: int, box: tuple[socket.socket, socket.socket], broker: tuple[socket.socket, socket.socket]
    ) -> None:
        self.memory = memory
        self._box, self._broker = box, broker

    @classmethod
    def create(cls, slots: int = SLOTS, slot_bytes: int = SLOT_BYTES, injected: int = INJECTED_SLOTS) -> Self:
        """Make a ring.

        Args:
            slots: packets that may be in the hands of the container, a power of two.
            slot_bytes: longest packet, a multiple of 64.
            injected: packets of its own that the broker has not read yet, a power of two.

        Raises:
            LocalProtocolError: settings out of bounds.
            OSError: there is no memory, or no descriptor.
        """
        layout = Layout(slots, slot_bytes, injected)
        memory = os.memfd_create("netserv-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, layout.size)
            os.pwrite(memory, SETTINGS.pack(MAGIC, slots, slot_bytes, injected, layout.answers), 0)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            wake_broker, wake_box = socket.socketpair(socket.AF_UNIX, kind)
            told_broker, told_box = socket.socketpair(socket.AF_UNIX, kind)
        except OSError:
            os.close(memory)
            raise
        return cls(memory, (wake_box, told_box), (wake_broker, told_broker))

    @property
    def box_descriptors(self) -> tuple[int, int, int]:
        """For the container, in the order of `AttachRing`: memory, what wakes it, what wakes the broker."""
        return self.memory, self._box[0].fileno(), self._box[1].fileno()

    @property
    def broker_descriptors(self) -> tuple[int, int, int]:
        """For the broker: memory, what wakes the container, what wakes the broker."""
        return self.memory, self._broker[0].fileno(), self._broker[1].fileno()

    def close(self) -> None:
        """Close this process's descriptors; the memory is there until the last one of all processes is closed."""
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1
            for each in (*self._box, *self._broker):
                each.close()


def map_memory(memory: int) -> tuple[mmap.mmap, Layout]:
    """Map the memory of a ring.

    Raises:
        RemoteProtocolError: it is no ring.
    """
    size = os.fstat(memory).st_size
    try:
        magic, slots, slot_bytes, injected, answers = SETTINGS.unpack(os.pread(memory, SETTINGS.size, 0))
        layout = Layout(slots, slot_bytes, injected)
    except (struct.error, LocalProtocolError) as error:
        raise RemoteProtocolError(f"this is no packet ring: {error}") from error
    if magic != MAGIC or answers != layout.answers or size != layout.size:
        raise RemoteProtocolError("this is no packet ring of this version")
    return mmap.mmap(memory, size), layout


Taken: TypeAlias = tuple[int, int, memoryview]
"Slot, number of the filter, and the IP packet itself, in the shared memory."


class Dispatcher(Protocol):
    """Who treats packets: `container/runtime/dispatcher.py`, where the compiled end reads more of it."""

    def dispatch(self, end: "PythonBoxEnd", packets: Sequence[Taken], /) -> None:
        """Have packets treated, and answer all of them."""


class PythonBoxEnd:
    """The container's end.

    Wait until `fileno()` is readable, take packets, answer each of them, flush; until there are none. `attend` does so.

    Args:
        memory_fd: of the ring; it may be closed afterwards.
        wake_fd: readable when packets wait.
        broker_fd: wakes the broker.

    Raises:
        RemoteProtocolError: this is no ring.
    """

    def __init__(self, memory_fd: int, wake_fd: int, broker_fd: int) -> None:
        self._map, self.layout = map_memory(memory_fd)
        self._memory = memoryview(self._map)
        self._words = self._memory[:HEADER_BYTES].cast("I")
        self._wake_fd, self._broker_fd = wake_fd, broker_fd
        self._taken = 0  # packets that were there before this end are its own as well
        self._answered = self._published = self._words[ANSWERS_HEAD]
        self._sequences = [0] * self.layout.slots
        self._free = deque(range(self.layout.slots, self.layout.slots + self.layout.injected))
        self._injected: deque[tuple[int, int]] = deque()
        "Slots of injected packets that the broker may not have read yet, each with the number of its descriptor."

    def fileno(self) -> int:
        """The descriptor that is readable when packets wait."""
        return self._wake_fd

    def attend(self, poll: select.epoll, seconds: float, dispatcher: Dispatcher) -> list[int]:
        """Have packets treated until something else is to be done.

        Args:
            poll: looks at `fileno()`, and at whatever else is not to wait.
            seconds: until something is to be done in any case; below 0: never.
            dispatcher: treats them.

        Returns:
            Descriptors besides `fileno()` that are ready.
        """
        packets: list[Taken] = []
        for _ in range(ROUNDS_MAX):
            packets = self.take(BATCH_MAX)
            if not packets:
                break
            dispatcher.dispatch(self, packets)
            self.flush()
        found = poll.poll(0 if packets else seconds)
        return [descriptor for descriptor, _ in found if descriptor != self._wake_fd]

    def take(self, most: int = 64) -> list[Taken]:
        """Packets that wait.

        None at all: this end sleeps from now on, and `fileno()` becomes readable when there is one.
        """
        words, layout = self._words, self.layout
        self._pass_late()
        waiting = (words[PACKETS_HEAD] - self._taken) & WORD_MASK
        if not waiting:
            words[BOX_SLEEPS] = 1
            with suppress(BlockingIOError):
                os.read(self._wake_fd, _DRAIN_BYTES)  # before the second look: a wake-up after that is kept
            waiting = (words[PACKETS_HEAD] - self._taken) & WORD_MASK
            if not waiting:
                return []
        words[BOX_SLEEPS] = 0
        memory, found, mask = self._memory, [], layout.slots - 1
        for number in range(self._taken, self._taken + min(waiting, most)):
            at = layout.packets_at + (number & mask) * DESCRIPTOR.size
            slot, length, filter_number, sequence = DESCRIPTOR.unpack_from(memory, at)
            self._sequences[slot] = sequence
            begin = layout.slots_at + slot * layout.slot_bytes
            found.append((slot, filter_number, memory[begin : begin + length]))
        self._taken = (self._taken + len(found)) & WORD_MASK
        return found

    def room(self, slot: int) -> memoryview:
        """All of a slot, for a packet that becomes longer."""
        begin = self.layout.slot_at(slot)
        return self._memory[begin : begin + self.layout.slot_bytes]

    def answer(self, slot: int, verdict: int, length: int = 0) -> None:
        """Say what becomes of a packet; the broker hears it after `flush`.

        Args:
            slot: as `take` gave it; it is not this end's any more.
            verdict: one of `VERDICTS`.
            length: of a changed packet.
        """
        self._put(slot, verdict, length, self._sequences[slot])

    def inject(self, packet: bytes | bytearray | memoryview, number: int = 0) -> bool:
        """Send a packet of one's own; it leaves after `flush`. False where there is no room now.

        Args:
            packet: an IP packet; checksums as with `CHANGED`.
            number: the filter on whose behalf; 0 for any of this container.
        """
        if not self._free:
            self._reclaim()
        if not self._free or len(packet) > self.layout.slot_bytes:
            return False
        slot = self._free.popleft()
        begin = self.layout.slot_at(slot)
        self._memory[begin : begin + len(packet)] = packet
        self._injected.append((self._answered, slot))
        self._put(slot, INJECT, len(packet), number)
        return True

    def flush(self) -> None:
        """Hand over what was answered and injected."""
        if self._answered != self._published:
            self._words[ANSWERS_HEAD] = self._published = self._answered
            if not self._words[BROKER_SLEEPS]:
                return
            # Full of wake-ups not read yet, or the broker is gone for now: it looks by itself.
            with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                os.write(self._broker_fd, _WAKE)

    def close(self) -> None:
        """Forget the memory, where nobody holds a packet of it any more."""
        self._words.release()
        self._memory.release()
        with suppress(BufferError):
            self._map.close()

    def _pass_late(self) -> None:
        """Give back the slots of packets that are decided already."""
        words, layout = self._words, self.layout
        late = (words[LATE_HEAD] - self._taken) & WORD_MASK
        if not 0 < late <= min(layout.slots, (words[PACKETS_HEAD] - self._taken) & WORD_MASK):
            return  # it is behind what was taken
        for number in range(self._taken, self._taken + late):
            at = layout.packets_at + (number & layout.slots - 1) * DESCRIPTOR.size
            slot, _, filter_number, sequence = DESCRIPTOR.unpack_from(self._memory, at)
            if filter_number & COUNTS:
                break  # never late
            self._put(slot, ACCEPT, 0, sequence)
            self._taken = (self._taken + 1) & WORD_MASK
        self.flush()

    def _put(self, slot: int, verdict: int, length: int, last: int) -> None:
        at = self.layout.answers_at + (self._answered & self.layout.answers - 1) * DESCRIPTOR.size
        DESCRIPTOR.pack_into(self._memory, at, slot, verdict, length, last)
        self._answered = (self._answered + 1) & WORD_MASK

    def _reclaim(self) -> None:
        tail = self._words[ANSWERS_TAIL]
        # A descriptor is read when the tail has passed it; half of all numbers lie ahead of any number.
        while self._injected and (self._injected[0][0] - tail) & WORD_MASK > WORD_MASK // 2:
            self._free.append(self._injected.popleft()[1])


if TYPE_CHECKING:
    BoxEnd: TypeAlias = PythonBoxEnd
else:
    try:
        from netserv.forwarding._box_end import BoxEnd  # the same in C
    except ImportError:
        BoxEnd = PythonBoxEnd
