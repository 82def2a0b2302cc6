"""The broker's part of `xdp` and `xdp+stack`: tables, a program on each interface, a socket for each of its queues.

All of them are descriptors of the broker, so all of them are gone with it, however it ends.
"""

import fcntl
import logging
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from netserv.errors import SystemRefusedError
from netserv.forwarding import bpf, xdp_program, xdp_stack, xdp_table
from netserv.forwarding.base import FILTERS_MAX, FLOWS_MAX, XDP_STACK
from netserv.forwarding.broker_messages import Start
from netserv.forwarding.compiled import CompiledEngine
from netserv.forwarding.matching import Rule
from netserv.forwarding.netdev import may_redirect_to

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"Between two looks at which interfaces can be redirected to."
INTERFACES_MAX: Final = 64
QUEUES_MAX: Final = 64
COUNTED_MAX: Final = 65_536
"Flows that are counted for modules, as the compiled part has it too; it gives each filter 4,096 of them."
TELL_S: Final = 1.0
"Between two looks at what was counted."
MORE_S: Final = 0.1
"Where there was more to tell than a container takes at once."
ENTRIES_MAX: Final = 65_536
"Keys of filters: of 4,096 filters with 8 ports each, both ways."
_ETHERNET: Final = 1
_REQUEST: Final = struct.Struct("=16s24s")
_HARDWARE: Final = 0x8927
_MTU: Final = 0x8921
_COUNTER: Final = struct.Struct("=QQ")


class Interface(NamedTuple):
    """An Ethernet interface of this machine."""

    name: str
    number: int
    mac: bytes
    mtu: int


def interfaces(wanted: tuple[str, ...]) -> list[Interface]:
    """The Ethernet interfaces that are there, or those of these names.

    Raises:
        SystemRefusedError: one of these names is none.
    """
    found = []
    for index, name in socket.if_nameindex():
        mac = _ask(name, _HARDWARE)
        if mac is None or int.from_bytes(mac[:2], sys.byteorder) != _ETHERNET or (wanted and name not in wanted):
            continue
        mtu = _ask(name, _MTU) or bytes(4)
        found.append(Interface(name, index, mac[2:8], int.from_bytes(mtu[:4], sys.byteorder)))
    if missing := set(wanted) - {each.name for each in found}:
        raise SystemRefusedError(f"there is no Ethernet interface {', '.join(sorted(missing))}")
    return found[:INTERFACES_MAX]


def _ask(name: str, question: int) -> bytes | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            return fcntl.ioctl(sock, question, _REQUEST.pack(name.encode(), b""))[16:]
        except OSError:
            return None  # it has just gone


class Tables:
    """The tables that the programs look into.

    Args:
        flows_max: flows that the kernel knows.
        stack: whether there is to be one for packets on their way back to the kernel.

    Raises:
        SystemRefusedError: the kernel does not give them.
    """

    def __init__(self, flows_max: int = FLOWS_MAX, *, stack: bool = False) -> None:
        if sys.byteorder != "little":
            raise SystemRefusedError("programs are written for little-endian machines")
        self._open: list[int] = []
        self.maps = xdp_program.Maps(
            settings=self._map(bpf.ARRAY, 4, xdp_table.SETTINGS_BYTES, 1),
            filters=self._map(
                bpf.LPM_TRIE, xdp_table.KEY.size, xdp_table.VALUE_BYTES, ENTRIES_MAX, bpf.NO_PREALLOCATION
            ),
            flows=self._map(bpf.LRU_HASH, xdp_program.FLOW_BYTES, xdp_program.FLOW_VALUE_BYTES, flows_max),
            counters=self._map(bpf.ARRAY, 4, _COUNTER.size, FILTERS_MAX),
            counted=self._map(bpf.ARRAY, 4, _COUNTER.size, COUNTED_MAX, bpf.MAPPABLE),
            sockets=self._map(bpf.XSKMAP, 4, 4, INTERFACES_MAX * QUEUES_MAX),
            devices=self._map(bpf.DEVMAP_HASH, 4, 4, INTERFACES_MAX),
        )
        self.outbox = self._map(bpf.ARRAY, 4, xdp_stack.OUTBOX_BYTES, 1, bpf.MAPPABLE) if stack else None
        self._settings = bytearray(xdp_table.SETTINGS_BYTES)
        self._lock = threading.Lock()
        "Of `_settings`: filters come by the one thread, interfaces by the other."
        self._entries: dict[bytes, bytes] = {}
        self._rules: dict[int, Rule] = {}
        self._counters: dict[int, int] = {}
        self._away: set[int] = set()
        "Filters whose flows come all the same, as their module is away."
        self._free = list(range(FILTERS_MAX - 1, -1, -1))

    def _map(self, kind: int, key: int, value: int, entries: int, flags: int = 0) -> int:
        self._open.append(bpf.create_map(kind, key, value, entries, flags))
        return self._open[-1]

    def add(self, rule: Rule) -> None:
        """Have packets of a filter looked for.

        Raises:
            SystemRefusedError: there is no room; nothing has changed.
        """
        index = self._counters[rule.number] = self._free.pop()
        self._rules[rule.number] = rule
        try:
            bpf.update(self.maps.counters, struct.pack("=I", index), bytes(_COUNTER.size))
            self._bring()
        except SystemRefusedError:
            self.drop(rule.number)
            raise

    def drop(self, number: int) -> None:
        """Have them go by."""
        del self._rules[number]
        self._away.discard(number)
        index = self._counters.pop(number)
        self._bring()
        self._free.insert(0, index)  # the one that rested longest is used next

    def attach(self, number: int, *, present: bool) -> None:
        """Have flows that a module has accepted for good pass, or come."""
        if self._rules[number].closed and present == (number in self._away):
            self._away ^= {number}
            self._bring()

    def cached(self, number: int) -> tuple[int, int]:
        """Packets and bytes of a filter that the kernel has forwarded by itself."""
        key = struct.pack("=I", self._counters[number])
        packets, size = _COUNTER.unpack(bpf.lookup(self.maps.counters, key, _COUNTER.size))
        return packets, size

    def redirect_to(self, allowed: set[int]) -> None:
        """Have flows that were accepted for good leave by these interfaces without the kernel."""
        with self._lock:
            before = {index for index in range(xdp_table.OUT_MAX) if self._settings[xdp_table.OUT_AT + index]}
            for index in allowed - before:
                bpf.update(self.maps.devices, struct.pack("=I", index), struct.pack("=I", index))
            for index in allowed ^ before:
                self._settings[xdp_table.OUT_AT + index] = index in allowed
            if allowed != before:
                bpf.update(self.maps.settings, bytes(4), bytes(self._settings))

    def close(self) -> None:
        """Close the tables."""
        for each in self._open:
            os.close(each)

    def _bring(self) -> None:
        """Bring what is in the kernel in step: new entries before their bits are set, old ones after."""
        filters = {number: rule.wanted for number, rule in self._rules.items()}
        wanted = xdp_table.table(filters, self._counters, self._away)
        for key, value in wanted.items():
            if self._entries.get(key) != value:
                bpf.update(self.maps.filters, key, value)
                self._entries[key] = value
        with self._lock:
            self._settings[: xdp_table.OUT_AT] = xdp_table.bitmaps(filters.values())
            bpf.update(self.maps.settings, bytes(4), bytes(self._settings))
        for key in self._entries.keys() - wanted.keys():
            bpf.delete(self.maps.filters, key)
            del self._entries[key]


class XdpPart:
    """Keeps tables in step with filters, and programs on interfaces.

    Raises:
        SystemRefusedError: this machine does not give what is needed.
    """

    def __init__(self, engine: CompiledEngine, settings: Start) -> None:
        self._engine = engine
        found = interfaces(settings.interfaces)
        if not found:
            raise SystemRefusedError("there is no Ethernet interface")
        self._stack = settings.plane == XDP_STACK
        self._tables = Tables(settings.flows_max, stack=self._stack)
        self._links: list[int] = []
        self._indices: list[int] = []
        warnings: list[str] = []
        router = -1 if self._stack else bpf.load_xdp(xdp_program.router_program(found[0].number))
        engine.core.start_xdp(self._tables.maps.flows, self._tables.maps.counted, router)
        if self._tables.outbox is not None:
            program = bpf.load_classifier(xdp_stack.stack_program(self._tables.outbox))
            engine.core.give_back_by(program, self._tables.outbox)
        self._tell_at = time.monotonic() + TELL_S
        refused = []
        for each in found:
            try:
                self._attach(each)
            except SystemRefusedError as error:
                refused.append(f"{each.name}: {error}")
        if not self._links:
            raise SystemRefusedError("; ".join(refused))
        warnings += [f"packets that come in by {reason}, so they go to no module" for reason in refused]
        self.warnings = tuple(warnings)
        self._ended = threading.Event()
        # By a thread of its own: the kernel answers when nobody changes interfaces, and packets cannot wait for that.
        self._looker = threading.Thread(target=self._keep_looking, daemon=True)
        if not self._stack:
            self._look()
            self._looker.start()

    def install(self, rule: Rule) -> None:
        """Have packets of a filter that the engine knows come.

        Raises:
            SystemRefusedError: there is no room; nothing is left.
        """
        self._tables.add(rule)

    def remove(self, number: int) -> None:
        """Have packets of a filter go by."""
        self._tables.drop(number)

    def attach(self, number: int, *, present: bool) -> None:
        """Have a filter know whether its module is there: where its policy is `closed`, no flow passes without it."""
        self._tables.attach(number, present=present)

    def counters(self, number: int) -> dict[str, int]:
        """What the kernel has counted of a filter."""
        packets, size = self._tables.cached(number)
        return {"packets": packets, "bytes": size, "cached": packets}

    def tidy(self) -> float | None:
        """Tell modules of their flows; seconds until the next time."""
        now = time.monotonic()
        if self._tell_at <= now:
            self._tell_at = now + (MORE_S if self._engine.core.tell() else TELL_S)
        return self._tell_at - now

    def untold(self, number: int) -> bool:
        """Whether flows of a filter are counted of which its module may not have heard all."""
        return bool(self._engine.core.counted(number))

    def tell_last(self, number: int) -> None:
        """Tell a module the rest, once its packets go by."""
        self._engine.core.tell_last(number)

    def close(self) -> None:
        """Detach the programs; packets are the kernel's again."""
        self._ended.set()
        if self._looker.is_alive():
            self._looker.join()
        for each in self._links:
            os.close(each)
        self._links.clear()
        self._tables.close()

    def _keep_looking(self) -> None:
        while not self._ended.wait(LOOK_S):
            try:
                self._look()
            except SystemRefusedError as error:
                log.warning("flows go by the broker: %s", error)

    def _look(self) -> None:
        """Look which interfaces can be redirected to."""
        self._tables.redirect_to({each for each in self._indices if each < xdp_table.OUT_MAX and may_redirect_to(each)})

    def _attach(self, interface: Interface) -> None:
        first = len(self._indices) * QUEUES_MAX
        code = xdp_program.main_program(self._tables.maps, interface.mac, first, stack=self._stack)
        program = bpf.load_xdp(code)
        attach = _natively if self._stack else _first
        try:
            link = attach(bpf.attach_xdp, program, interface.number)
        finally:
            os.close(program)  # the link keeps it
        try:
            self._open_sockets(interface, first)
        except SystemRefusedError:
            os.close(link)
            raise
        self._links.append(link)
        self._indices.append(interface.number)

    def _open_sockets(self, interface: Interface, first: int) -> None:
        """After the program is there, as each takes a good part of the frames; without them packets pass."""
        for queue in range(QUEUES_MAX):
            try:
                descriptor = self._engine.core.add_link(interface.number, queue, interface.mtu)
            except OSError as error:
                if queue:
                    break  # that was the last one
                raise SystemRefusedError(f"it gives no socket of AF_XDP: {error.strerror}") from error
            bpf.update(self._tables.maps.sockets, struct.pack("=I", first + queue), struct.pack("=I", descriptor))


def _first(attach: Callable[[int, int, int], int], program: int, index: int) -> int:
    try:
        return attach(program, index, bpf.NATIVE)
    except SystemRefusedError as error:
        log.info("interface %d takes the program only in the general code: %s", index, error)
        return attach(program, index, bpf.GENERIC)


def _natively(attach: Callable[[int, int, int], int], program: int, index: int) -> int:
    try:
        return attach(program, index, bpf.NATIVE)
    except SystemRefusedError as error:
        raise SystemRefusedError(
            f"its driver takes no program ({error}), and in the kernel's general code a packet that was given back "
            "would come again"
        ) from error
