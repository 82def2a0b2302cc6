"""From the ring to the modules: each packet goes to every module whose filter number it bears, in turn.

An empty handler costs about a microsecond with all that is around it, so there is nothing here for each packet that
could be there for each batch: packets of one filter are handled in one loop, and what is common is decided before it.
Where the container's end of a ring is the compiled one, `BoxEnd.attend` does the same for filters that one module has
alone, by what a `Dispatcher` shows of itself.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias

from netserv.errors import LocalProtocolError
from netserv.forwarding.ring import COUNTS, FLOW, Taken
from netserv.modules.api import ACCEPT, ACCEPT_FLOW, CHANGED, COUNT_FLOW, DROP, Counted, Verdict
from netserv.modules.packets import Packet

FAILED: Final = 0
"None of the ring's verdicts: the broker lets the failure policy of the filter decide."
PACKET_MIN: Final = 20
"Bytes: the shortest IP header."
_NEVER: Final = 1 << 31
"More packets than any batch has."

Alone: TypeAlias = tuple[
    Callable[[Packet], Any] | None,
    Callable[[Sequence[Packet]], Any] | None,
    int,
    Callable[[BaseException], None],
]
"Of a handler: `process`, `process_batch`, `batch_least`, `strike`."


class End(Protocol):
    """The container's end of a ring (`netserv/forwarding/ring.py`)."""

    def answer(self, slot: int, verdict: int, length: int = 0) -> None:
        """Say what becomes of a packet."""

    def room(self, slot: int) -> memoryview:
        """All of a slot."""


class RubbishError(Exception):
    """A handler has returned what is no answer."""


class Handler:
    """Where packets go in one module.

    Args:
        module: its number.
        activator: has `process`, `process_batch` or both, and `counted` if it wants to.
        strike: is told what it raises.

    Raises:
        LocalProtocolError: it has neither, or an asynchronous one.
    """

    __slots__ = ("batch_least", "counted", "module", "process", "process_batch", "strike")

    def __init__(self, module: int, activator: Any, strike: Callable[[BaseException], None]) -> None:
        self.module, self.strike = module, strike
        self.process: Callable[[Packet], Any] | None = getattr(activator, "process", None)
        self.process_batch: Callable[[Sequence[Packet]], Any] | None = getattr(activator, "process_batch", None)
        self.counted: Callable[[Sequence[Counted]], Any] | None = getattr(activator, "counted", None)
        for function in (self.process, self.process_batch, self.counted):
            if function is not None and (not callable(function) or inspect.iscoroutinefunction(function)):
                why = "process, process_batch and counted have to be plain functions: packets do not wait"
                raise LocalProtocolError(why)
        if self.process is None and self.process_batch is None:
            raise LocalProtocolError('a module of kind "packet" or "both" needs process or process_batch')
        least = getattr(activator, "batch_least", 1)
        if self.process_batch is None:
            self.batch_least: int = _NEVER
        elif self.process is None or not isinstance(least, int):
            self.batch_least = 1
        else:
            self.batch_least = min(least, _NEVER)

    def one(self, packet: Packet) -> Any:
        """The answer of the module to one packet.

        Raises:
            BaseException: whatever it raises.
        """
        if self.process is not None:
            return self.process(packet)
        if self.process_batch is None:
            raise RubbishError("no handler")
        return _checked(self.process_batch([packet]), 1)[0]


class Dispatcher:
    """Which packets go to which modules.

    Attributes:
        alone: handlers of filters that no other module has.
        packet: makes of the memory of a packet what modules get. Where its type allows it (`modules/_views.h`), the
            compiled end makes them by itself, and uses again what modules have left.
        verdicts: answers that are frequent, and say all.
        other: has other answers given; raises where something is none.
        checked: the answers to a batch, where they are neither a list nor a tuple of its length.
    """

    packet = Packet
    verdicts = (ACCEPT, DROP, COUNT_FLOW)

    def __init__(self) -> None:
        self._chains: dict[int, tuple[Handler, ...]] = {}
        self.alone: dict[int, Alone] = {}
        self.other, self.checked = _answer_other, _checked

    def attach(self, number: int, handler: Handler) -> None:
        """Give packets of a filter to a module, behind those that have them already."""
        self._give(number, (*self._chains.get(number, ()), handler))

    def detach(self, module: int) -> None:
        """Give a module no more packets."""
        for number, chain in list(self._chains.items()):
            self._give(number, tuple(handler for handler in chain if handler.module != module))

    def dispatch(self, end: End, packets: Sequence[Taken]) -> None:
        """Have packets treated, and answer all of them."""
        first, count = 0, len(packets)
        while first < count:
            number = packets[first][1]
            last = first + 1
            while last < count and packets[last][1] == number:
                last += 1
            run = packets if last - first == count else packets[first:last]
            chain = self._chains.get(number)
            if number & COUNTS:
                _tell(end, run, self._chains.get(number ^ COUNTS, ()))
            elif chain is None:
                # Taken out of service a moment ago.
                _answer_all(end, run, FAILED)
            elif len(chain) > 1:
                _run_chain(end, run, chain)
            elif len(run) >= chain[0].batch_least:
                _run_batch(end, run, chain[0])
            else:
                _run_each(end, run, chain[0])
            first = last

    def _give(self, number: int, chain: tuple[Handler, ...]) -> None:
        self._chains[number] = chain
        self.alone.pop(number, None)
        if len(chain) == 1:
            (only,) = chain
            self.alone[number] = only.process, only.process_batch, only.batch_least, only.strike
        elif not chain:
            del self._chains[number]


def _tell(end: End, run: Sequence[Taken], chain: Sequence[Handler]) -> None:
    for slot, _, view in run:
        counted = list(_counted(view))
        end.answer(slot, ACCEPT)
        for handler in chain:
            try:
                if handler.counted is not None:
                    handler.counted(counted)
            except BaseException as error:
                handler.strike(error)


def _counted(view: memoryview) -> Iterator[Counted]:
    for version, proto, sport, dport, ttl, source, destination, packets, size in FLOW.iter_unpack(view):
        ends = (source, destination) if version == 6 else (source[:4], destination[:4])
        yield Counted(*ends, int.from_bytes(sport), int.from_bytes(dport), proto, ttl, packets, size)


def _run_each(end: End, run: Sequence[Taken], handler: Handler) -> None:
    """The hot loop. `except` costs nothing here until it catches."""
    process, answer = handler.process, end.answer
    if process is None:
        return
    for slot, _, view in run:
        try:
            said = process(Packet(view))
            if said is ACCEPT or said is DROP or said is COUNT_FLOW:
                answer(slot, said)
            else:
                _answer_other(end, slot, view, said)
        except BaseException as error:  # even `SystemExit`: this thread is not the module's to end
            handler.strike(error)
            answer(slot, FAILED)


def _run_batch(end: End, run: Sequence[Taken], handler: Handler) -> None:
    if handler.process_batch is None:
        return
    try:
        answers = _checked(handler.process_batch([Packet(view) for _, _, view in run]), len(run))
    except BaseException as error:
        handler.strike(error)
        _answer_all(end, run, FAILED)
        return
    answer = end.answer
    for (slot, _, view), said in zip(run, answers, strict=True):
        if said is ACCEPT or said is DROP or said is COUNT_FLOW:
            answer(slot, said)
            continue
        try:
            _answer_other(end, slot, view, said)
        except BaseException as error:
            handler.strike(error)
            answer(slot, FAILED)


def _run_chain(end: End, run: Sequence[Taken], chain: tuple[Handler, ...]) -> None:
    for slot, _, view in run:
        verdict, length = _in_turn(end, slot, view, chain)
        end.answer(slot, verdict, length)


def _in_turn(end: End, slot: int, view: memoryview, chain: tuple[Handler, ...]) -> tuple[int, int]:
    """What several modules make of a packet.

    One that drops has the last word; one that fails does not keep the packet from the others; the flow passes unseen
    only if all of them want so, and where one counts it goes on to see the packets.
    """
    verdict: int = ACCEPT_FLOW
    failed = False
    for handler in chain:
        try:
            said = handler.one(Packet(view))
            if said is DROP:
                return DROP, 0
            if said is ACCEPT or said is COUNT_FLOW:
                verdict = CHANGED if verdict == CHANGED else ACCEPT
            elif said is not ACCEPT_FLOW:
                view = view if said is CHANGED else _written(end, slot, said)
                verdict = CHANGED
        except BaseException as error:
            handler.strike(error)
            failed = True
    return (FAILED, 0) if failed else (verdict, len(view) if verdict == CHANGED else 0)


def _answer_other(end: End, slot: int, view: memoryview, said: Any) -> None:
    """Answers that are rare.

    Raises:
        RubbishError: it is none.
    """
    if said is CHANGED:
        end.answer(slot, CHANGED, len(view))
    elif said is ACCEPT_FLOW:
        end.answer(slot, ACCEPT_FLOW)
    else:
        end.answer(slot, CHANGED, len(_written(end, slot, said)))


def _written(end: End, slot: int, packet: Any) -> memoryview:
    """A packet in the place of that of a slot.

    Raises:
        RubbishError: it is no packet, or too long.
    """
    whole = packet.raw if isinstance(packet, Packet) else packet
    if not isinstance(whole, bytes | bytearray | memoryview):
        raise RubbishError(f"process returned {type(packet).__name__}; ACCEPT, DROP, CHANGED or a packet is an answer")
    data = memoryview(whole).cast("B")
    room = end.room(slot)
    if not PACKET_MIN <= len(data) <= len(room):
        raise RubbishError(f"a packet of {len(data)} bytes; {PACKET_MIN} to {len(room)} are possible")
    room[: len(data)] = data
    return room[: len(data)]


def _checked(answers: Any, count: int) -> Sequence[Any]:
    if type(answers) is Verdict:
        return (answers,) * count
    if not isinstance(answers, list | tuple) or len(answers) != count:
        size = f" of {len(answers)}" if isinstance(answers, list | tuple) else ""
        raise RubbishError(f"process_batch returned {type(answers).__name__}{size} for {count} packets")
    return answers


def _answer_all(end: End, run: Sequence[Taken], verdict: int) -> None:
    for slot, _, _ in run:
        end.answer(slot, verdict)
