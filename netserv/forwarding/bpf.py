"""The one door to bpf(2): maps, programs and links, each a descriptor; what it stands for is gone when it is closed."""

import ctypes
import os
import struct
from typing import Final

from netserv.errors import SystemRefusedError

ARRAY: Final = 2
LRU_HASH: Final = 9
LPM_TRIE: Final = 11
XSKMAP: Final = 17
DEVMAP_HASH: Final = 25
NO_PREALLOCATION: Final = 1
MAPPABLE: Final = 1 << 10
"By mmap(2), for whoever reads much of it."
_XDP: Final = 6
_XDP_ATTACH: Final = 37
_CLASSIFIER: Final = 3
_INGRESS_ATTACH: Final = 46
_MAP_CREATE: Final = 0
_MAP_LOOKUP: Final = 1
_MAP_UPDATE: Final = 2
_MAP_DELETE: Final = 3
_PROGRAM_LOAD: Final = 5
_TEST_RUN: Final = 10
_LINK_CREATE: Final = 28
_LIVE_FRAMES: Final = 1 << 1
NATIVE: Final = 1 << 2
"In the driver of the interface."
GENERIC: Final = 1 << 1
"In the kernel's general code, for interfaces whose driver cannot."
_NUMBERS: Final = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280}
_LOG_BYTES: Final = 1 << 20
_NAME: Final = b"netserv"
_libc = ctypes.CDLL(None, use_errno=True)


def _call(command: int, attributes: bytes, what: str) -> int:
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        raise SystemRefusedError(f"{what}: BPF is not known on {os.uname().machine}")
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"))
    result = _libc.syscall(number, command, buffer, 128)
    if result < 0:
        error = ctypes.get_errno()
        raise BpfError(error, f"{what}: {os.strerror(error)}")
    return int(result)


class BpfError(SystemRefusedError):
    """The kernel refuses; `errno` says why."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.errno = number


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def create_map(kind: int, key_size: int, value_size: int, entries: int, flags: int = 0) -> int:
    """Make a map.

    Raises:
        SystemRefusedError: the kernel does not know this kind, or this process may not.
    """
    attributes = struct.pack("=IIIIIII16s", kind, key_size, value_size, entries, flags, 0, 0, _NAME)
    return _call(_MAP_CREATE, attributes, "a table of BPF is not given")


def update(descriptor: int, key: bytes, value: bytes) -> None:
    """Set an element.

    Raises:
        SystemRefusedError: there is no room.
    """
    name, held = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    attributes = struct.pack("=IIQQQ", descriptor, 0, _address(name), _address(held), 0)
    _call(_MAP_UPDATE, attributes, "a table of BPF takes no more")


def lookup(descriptor: int, key: bytes, value_size: int) -> bytes:
    """An element.

    Raises:
        SystemRefusedError: there is none.
    """
    name, held = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value_size)
    attributes = struct.pack("=IIQQQ", descriptor, 0, _address(name), _address(held), 0)
    _call(_MAP_LOOKUP, attributes, "nothing in a table of BPF")
    return held.raw


def delete(descriptor: int, key: bytes) -> None:
    """Take an element away.

    Raises:
        SystemRefusedError: there is none.
    """
    name = ctypes.create_string_buffer(key, len(key))
    _call(_MAP_DELETE, struct.pack("=IIQQQ", descriptor, 0, _address(name), 0, 0), "nothing in a table of BPF")


def load_xdp(code: bytes) -> int:
    """Load an XDP program; the kernel proves that it ends and touches nothing that it must not.

    Raises:
        SystemRefusedError: this process may not, or the kernel refuses the program, whose reasons are in the text.
    """
    return _load(code, _XDP, _XDP_ATTACH)


def load_classifier(code: bytes) -> int:
    """Load a program that sees packets which have come in, as the kernel keeps them.

    Raises:
        SystemRefusedError: this process may not, or the kernel refuses the program.
    """
    return _load(code, _CLASSIFIER, _INGRESS_ATTACH)


def _load(code: bytes, kind: int, attach: int) -> int:
    program, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"Dual MIT/GPL")

    def attributes(log: ctypes.Array[ctypes.c_char] | None) -> bytes:
        level, size, at = (1, _LOG_BYTES, _address(log)) if log is not None else (0, 0, 0)
        head = struct.pack(
            "=IIQQIIQII16s", kind, len(code) // 8, _address(program), _address(licence), level, size, at, 0, 0, _NAME
        )
        return head + struct.pack("=II", 0, attach)

    try:
        return _call(_PROGRAM_LOAD, attributes(None), "a program of BPF is not given")
    except BpfError as error:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return _call(_PROGRAM_LOAD, attributes(log), "a program of BPF is not given")
        except BpfError:
            said = log.value.decode(errors="replace").strip().splitlines()
            raise BpfError(error.errno, f"{error}{': ' if said else ''}{' | '.join(said[-6:])}") from error


def attach_xdp(program: int, interface: int, mode: int) -> int:
    """Have a program run for each packet that comes in by an interface, until the returned link is closed.

    Raises:
        SystemRefusedError: another program is there, or the driver cannot.
    """
    attributes = struct.pack("=IIII", program, interface, _XDP_ATTACH, mode)
    return _call(_LINK_CREATE, attributes, "a program of BPF is not attached")


def attach_classifier(program: int, interface: int) -> int:
    """Have a program see what comes in by an interface, until the returned link is closed.

    Raises:
        SystemRefusedError: the kernel (before 6.6) cannot.
    """
    attributes = struct.pack("=IIII", program, interface, _INGRESS_ATTACH, 0)
    return _call(_LINK_CREATE, attributes, "a program of BPF is not attached where packets come in (Linux 6.6)")


def run_live(program: int, frame: bytes, times: int) -> None:
    """Run a program on copies of a frame as if they had come by an interface: what it redirects leaves.

    Raises:
        SystemRefusedError: the kernel (before 5.18) cannot.
    """
    given = ctypes.create_string_buffer(frame, len(frame))
    head = struct.pack("=IIIIQQII", program, 0, len(frame), 0, _address(given), 0, times, 0)
    tail = struct.pack("=IIQQIII", 0, 0, 0, 0, _LIVE_FRAMES, 0, min(times, 64))
    _call(_TEST_RUN, head + tail, "frames are not sent by XDP")


def run_xdp(program: int, frame: bytes) -> tuple[int, bytes]:
    """Run a program on a frame, for tests and questions; returns what it returns, and the frame as it left it.

    Raises:
        SystemRefusedError: the kernel refuses.
    """
    given, back = ctypes.create_string_buffer(frame, len(frame)), ctypes.create_string_buffer(4_096)
    attributes = bytearray(struct.pack("=IIIIQQ", program, 0, len(frame), 4_096, _address(given), _address(back)))
    number = _NUMBERS[os.uname().machine]
    buffer = ctypes.create_string_buffer(bytes(attributes).ljust(128, b"\0"))
    if _libc.syscall(number, _TEST_RUN, buffer, 128) < 0:
        error = ctypes.get_errno()
        raise BpfError(error, f"a program of BPF is not run: {os.strerror(error)}")
    _, result, _, size = struct.unpack_from("=IIII", buffer.raw)
    return result, back.raw[:size]
