"""Writes programs for the kernel's BPF machine (RFC 9669), so that no compiler is needed where NetServ runs.

    program = Assembler()
    program.load(W, R2, R1, 0)
    program.jump("!=", R2, 5, "pass")
    ...
    program.label("pass")
    program.move(R0, XDP_PASS)
    program.exit()
    program.assemble()

A second operand is a `Register`, or a number of 32 bits. Instructions are in the order of a little-endian machine.
"""

import struct
from enum import IntEnum
from typing import Final

from netserv.errors import LocalProtocolError


class Register(IntEnum):
    """R0: results; R1 to R5: arguments, lost in calls; R6 to R9: kept; R10: the stack, which grows down from it."""

    R0 = 0
    R1 = 1
    R2 = 2
    R3 = 3
    R4 = 4
    R5 = 5
    R6 = 6
    R7 = 7
    R8 = 8
    R9 = 9
    R10 = 10


R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = Register
B: Final = 0x10
H: Final = 0x08
W: Final = 0x00
DW: Final = 0x18
_INSTRUCTION: Final = struct.Struct("<BBhi")
_ARITHMETIC: Final = {
    "+=": 0x00,
    "-=": 0x10,
    "*=": 0x20,
    "|=": 0x40,
    "&=": 0x50,
    "<<=": 0x60,
    ">>=": 0x70,
    "^=": 0xA0,
    "=": 0xB0,
}
_JUMPS: Final = {"==": 0x10, ">": 0x20, ">=": 0x30, "&": 0x40, "!=": 0x50, "<": 0xA0, "<=": 0xB0}
_MAP_DESCRIPTOR: Final = 1
_MAP_VALUE: Final = 2


class Assembler:
    """Gathers instructions; jumps go forward to labels by name."""

    def __init__(self) -> None:
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def _put(self, opcode: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> None:
        signed = number - (1 << 32) if number >= 1 << 31 else number
        self._code += _INSTRUCTION.pack(opcode, to | source << 4, offset, signed)

    def operate(self, operation: str, to: Register, operand: Register | int, *, narrow: bool = False) -> None:
        """Arithmetic on 64 bits, or on the lower 32, whose result fills the rest with 0."""
        opcode = _ARITHMETIC[operation] | (0x04 if narrow else 0x07)
        if isinstance(operand, Register):
            self._put(opcode | 0x08, to, operand)
        else:
            self._put(opcode, to, number=operand)

    def move(self, to: Register, operand: Register | int) -> None:
        """Copy a register, or set it to a number of 32 bits with its sign."""
        self.operate("=", to, operand)

    def swap16(self, to: Register) -> None:
        """Turn two bytes between the order of the network and that of this machine; the rest is 0."""
        self._put(0xDC, to, number=16)

    def load(self, size: int, to: Register, base: Register, offset: int) -> None:
        """Read `size` bytes at `base + offset`."""
        self._put(0x61 | size, to, base, offset)

    def store(self, size: int, base: Register, offset: int, operand: Register | int) -> None:
        """Write them."""
        if isinstance(operand, Register):
            self._put(0x63 | size, base, operand, offset)
        else:
            self._put(0x62 | size, base, 0, offset, operand)

    def add_atomically(self, base: Register, offset: int, operand: Register) -> None:
        """Add to the 64 bits there."""
        self._put(0xDB, base, operand, offset)

    def jump(self, condition: str, register: Register, operand: Register | int, label: str) -> None:
        """Go to a label where a comparison without signs holds; `&`: where they have a bit in common."""
        self._jumps.append((len(self._code), label))
        if isinstance(operand, Register):
            self._put(_JUMPS[condition] | 0x0D, register, operand)
        else:
            self._put(_JUMPS[condition] | 0x05, register, number=operand)

    def go(self, label: str) -> None:
        """Go to a label."""
        self._jumps.append((len(self._code), label))
        self._put(0x05)

    def label(self, name: str) -> None:
        """Name this place.

        Raises:
            LocalProtocolError: another one has this name.
        """
        if name in self._labels:
            raise LocalProtocolError(f"two places are called {name!r}")
        self._labels[name] = len(self._code)

    def call(self, helper: int) -> None:
        """Call a function of the kernel by its number (bpf-helpers(7))."""
        self._put(0x85, number=helper)

    def exit(self) -> None:
        """Return R0."""
        self._put(0x95)

    def load_map(self, to: Register, descriptor: int) -> None:
        """Name a map, for a call."""
        self._put(0x18, to, _MAP_DESCRIPTOR, 0, descriptor)
        self._put(0)

    def load_map_value(self, to: Register, descriptor: int, offset: int) -> None:
        """The address of a byte in the only element of an array."""
        self._put(0x18, to, _MAP_VALUE, 0, descriptor)
        self._put(0, number=offset)

    def assemble(self) -> bytes:
        """The program.

        Raises:
            LocalProtocolError: a label is nowhere, or too far.
        """
        code = bytearray(self._code)
        for at, name in self._jumps:
            if name not in self._labels:
                raise LocalProtocolError(f"no place is called {name!r}")
            distance = (self._labels[name] - at) // _INSTRUCTION.size - 1
            if not -(1 << 15) <= distance < 1 << 15:
                raise LocalProtocolError(f"{name!r} is {distance} instructions away")
            struct.pack_into("<h", code, at + 2, distance)
        return bytes(code)
