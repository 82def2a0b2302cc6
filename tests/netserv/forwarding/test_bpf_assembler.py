"""Instructions as RFC 9669 writes them; the kernel's verifier reads whole programs in test_xdp_program.py."""

from collections.abc import Callable

import pytest

from netserv.errors import LocalProtocolError
from netserv.forwarding.bpf_assembler import DW, R0, R1, R2, R3, R9, R10, Assembler, B, H, W

KNOWN: list[tuple[Callable[[Assembler], None], str]] = [
    (lambda a: a.move(R0, 2), "b700000002000000"),
    (lambda a: a.move(R1, R9), "bf91000000000000"),
    (lambda a: a.move(R2, -20), "b7020000ecffffff"),
    (lambda a: a.operate("+=", R2, R1), "0f12000000000000"),
    (lambda a: a.operate("&=", R1, 0xFFFFFF0F, narrow=True), "540100000fffffff"),
    (lambda a: a.operate(">>=", R3, 3), "7703000003000000"),
    (lambda a: a.operate("<<=", R3, 2), "6703000002000000"),
    (lambda a: a.operate("^=", R1, R2, narrow=True), "ac21000000000000"),
    (lambda a: a.swap16(R1), "dc01000010000000"),
    (lambda a: a.load(B, R1, R9, 23), "7191170000000000"),
    (lambda a: a.load(H, R1, R9, 12), "69910c0000000000"),
    (lambda a: a.load(W, R2, R1, 4), "6112040000000000"),
    (lambda a: a.load(DW, R1, R10, -8), "79a1f8ff00000000"),
    (lambda a: a.store(W, R10, -4, R1), "631afcff00000000"),
    (lambda a: a.store(DW, R10, -8, 0), "7a0af8ff00000000"),
    (lambda a: a.store(B, R10, -1, 7), "720affff07000000"),
    (lambda a: a.add_atomically(R0, 8, R1), "db10080000000000"),
    (lambda a: a.load_map(R1, 5), "18110000050000000000000000000000"),
    (lambda a: a.load_map_value(R3, 6, 8), "18230000060000000000000008000000"),
    (lambda a: a.call(69), "8500000045000000"),
    (lambda a: a.exit(), "9500000000000000"),
]


@pytest.mark.parametrize(("instruct", "expected"), KNOWN, ids=[expected for _, expected in KNOWN])
def test_an_instruction_is_written_as_the_machine_reads_it(
    instruct: Callable[[Assembler], None], expected: str
) -> None:
    assembler = Assembler()
    instruct(assembler)
    assert assembler.assemble().hex() == expected


@pytest.mark.parametrize(
    ("condition", "number", "register"),
    [
        ("==", "15", "1d"),
        ("!=", "55", "5d"),
        (">", "25", "2d"),
        (">=", "35", "3d"),
        ("&", "45", "4d"),
        ("<", "a5", "ad"),
        ("<=", "b5", "bd"),
    ],
)
def test_jumps_count_instructions(condition: str, number: str, register: str) -> None:
    assembler = Assembler()
    assembler.jump(condition, R1, 5, "end")
    assembler.jump(condition, R1, R2, "end")
    assembler.load_map(R1, 1)
    assembler.go("end")
    assembler.label("end")
    code = assembler.assemble().hex()
    assert code[:16] == f"{number}01040005000000"
    assert code[16:32] == f"{register}21030000000000"
    assert code[64:] == "0500000000000000"


def test_labels_are_somewhere_and_once() -> None:
    assembler = Assembler()
    assembler.go("nowhere")
    with pytest.raises(LocalProtocolError, match="nowhere"):
        assembler.assemble()
    assembler.label("twice")
    with pytest.raises(LocalProtocolError, match="twice"):
        assembler.label("twice")
