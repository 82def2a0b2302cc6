"""The program that gives packets back to the kernel's stack, as if they had just come in by their interface.

The broker writes them into a table, the outbox, and has the program run once for each of them (`BPF_PROG_TEST_RUN`):
the kernel's other way to make packets come in, live frames of XDP, waits for all processors in each call. What comes
in so meets no XDP program in the driver of the interface, so no packet comes to a module twice.
"""

from typing import Final

from netserv.forwarding.bpf_assembler import DW, R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, Assembler, W

SLOTS: Final = 256
SLOT_BYTES: Final = 2_048
"Size, interface, frame; with the changes of a module as long as a buffer of AF_XDP at most."
HEAD_BYTES: Final = 4_096
"What comes before the slots: the number of the next one, and how many the kernel did not take."
OUTBOX_BYTES: Final = HEAD_BYTES + SLOTS * SLOT_BYTES
NEXT, LOST = 0, 8
SIZE, INTERFACE, FRAME = 0, 4, 8
_CLONE_REDIRECT: Final = 13
_CHANGE_TAIL: Final = 38
_STORE_BYTES: Final = 9
_INGRESS: Final = 1


def stack_program(outbox: int) -> bytes:
    """A classifier that takes the next packet of the outbox; the packet that it is run on is only a sheet of paper."""
    a = Assembler()
    a.move(R6, R1)
    a.load_map_value(R7, outbox, 0)
    a.load(DW, R8, R7, NEXT)
    a.jump(">=", R8, SLOTS, "end")
    a.move(R1, R8)
    a.operate("+=", R1, 1)
    a.store(DW, R7, NEXT, R1)
    a.operate("*=", R8, SLOT_BYTES)
    a.load_map_value(R7, outbox, HEAD_BYTES)
    a.operate("+=", R7, R8)
    a.load(W, R9, R7, SIZE)
    a.jump("==", R9, 0, "lost")
    a.jump(">", R9, SLOT_BYTES - FRAME, "lost")
    a.load(W, R1, R6, 0)
    a.jump("==", R1, R9, "as long")
    a.move(R1, R6)
    a.move(R2, R9)
    a.move(R3, 0)
    a.call(_CHANGE_TAIL)
    a.jump("!=", R0, 0, "lost")
    a.label("as long")
    a.move(R1, R6)
    a.move(R2, 0)
    a.move(R3, R7)
    a.operate("+=", R3, FRAME)
    a.move(R4, R9)
    a.move(R5, 0)
    a.call(_STORE_BYTES)
    a.jump("!=", R0, 0, "lost")
    a.move(R1, R6)
    a.load(W, R2, R7, INTERFACE)
    a.move(R3, _INGRESS)
    a.call(_CLONE_REDIRECT)
    a.jump("==", R0, 0, "end")
    a.label("lost")
    a.load_map_value(R7, outbox, 0)
    a.load(DW, R1, R7, LOST)
    a.operate("+=", R1, 1)
    a.store(DW, R7, LOST, R1)
    a.label("end")
    a.move(R0, 0)
    a.exit()
    return a.assemble()
