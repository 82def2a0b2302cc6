"""Packets on their way back to the kernel: what was written into the outbox comes in by its interface; needs root."""

import ctypes
import mmap
import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from netserv.errors import SystemRefusedError
from netserv.forwarding import bpf, compiled, xdp_stack
from netserv.forwarding.bpf_assembler import R0, Assembler
from netserv.forwarding.broker_messages import Start
from netserv.forwarding.xdp import XdpPart

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="BPF needs root")
NEW_NETWORK = 0x40000000
EVERYTHING = 3
DROP = 1


class Way:
    """An outbox, its program, and an interface by which packets come in, all in a namespace of the thread."""

    def __init__(self) -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare")
        for words in ("add in type veth peer name far", "set far up", "set in up"):
            subprocess.run(["ip", "link", *words.split()], check=True)
        self.interface = socket.if_nametoindex("in")
        self.heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
        self.heard.bind(("in", EVERYTHING))
        self.heard.setblocking(False)
        self.map = bpf.create_map(bpf.ARRAY, 4, xdp_stack.OUTBOX_BYTES, 1, bpf.MAPPABLE)
        self.outbox = mmap.mmap(self.map, xdp_stack.OUTBOX_BYTES)
        self.program = bpf.load_classifier(xdp_stack.stack_program(self.map))
        code = Assembler()
        code.move(R0, DROP)
        code.exit()
        dropping = bpf.load_xdp(code.assemble())
        self.link = bpf.attach_xdp(dropping, self.interface, bpf.NATIVE)
        os.close(dropping)

    def give(self, *packets: tuple[int, int, bytes]) -> tuple[list[bytes], int]:
        """Size, interface and frame of each; what has come in then, and how many were lost."""
        struct.pack_into("=QQ", self.outbox, 0, 0, 0)
        for number, (size, interface, frame) in enumerate(packets):
            at = xdp_stack.HEAD_BYTES + number * xdp_stack.SLOT_BYTES
            struct.pack_into("=II", self.outbox, at, size, interface)
            self.outbox[at + xdp_stack.FRAME : at + xdp_stack.FRAME + len(frame)] = frame
        for _ in packets:
            bpf.run_xdp(self.program, bytes(64))
        done, lost = struct.unpack_from("=QQ", self.outbox)
        assert done == len(packets)
        found = []
        while True:
            try:
                frame, address = self.heard.recvfrom(4_096)
            except BlockingIOError:
                return found, lost
            if frame[:6] == MAC and address[2] != socket.PACKET_OUTGOING:
                found.append(frame)

    def close(self) -> None:
        self.outbox.close()
        self.heard.close()
        for each in (self.map, self.program, self.link):
            os.close(each)


MAC = bytes.fromhex("02000000000a")


@pytest.fixture
def way() -> Iterator[tuple[Way, ThreadPoolExecutor]]:
    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(Way).result()
        yield made, thread
        thread.submit(made.close).result()


def test_packets_come_in_as_they_are_in_their_order_past_the_program_of_the_interface(
    way: tuple[Way, ThreadPoolExecutor],
) -> None:
    there, thread = way
    sizes = (42, 1_500, 64, 2_040, 43, 300)
    frames = [MAC + bytes(6) + b"\x08\x00" + bytes([number]) * (size - 14) for number, size in enumerate(sizes, 1)]
    given = [(len(frame), there.interface, frame) for frame in frames]
    assert thread.submit(there.give, *given).result() == (frames, 0)


def test_what_cannot_come_in_is_counted_and_hinders_nothing(way: tuple[Way, ThreadPoolExecutor]) -> None:
    there, thread = way
    frame = MAC + bytes(6) + b"\x86\xdd" + b"x" * 50
    nowhere = (len(frame), 4_711, frame)
    good = (len(frame), there.interface, frame)
    given = (nowhere, good, (0, there.interface, frame), (2_041, there.interface, frame), good)
    assert thread.submit(there.give, *given).result() == ([frame, frame], 3)


def test_no_more_is_taken_than_there_are_slots(way: tuple[Way, ThreadPoolExecutor]) -> None:
    there, thread = way

    def run() -> int:
        struct.pack_into("=QQ", there.outbox, 0, xdp_stack.SLOTS, 0)
        bpf.run_xdp(there.program, bytes(64))
        return int(struct.unpack_from("=Q", there.outbox)[0])

    assert thread.submit(run).result() == xdp_stack.SLOTS


@pytest.mark.skipif(not compiled.BUILT, reason="it needs the compiled part")
def test_an_interface_whose_driver_takes_no_program_is_left_out_with_the_reason(
    way: tuple[Way, ThreadPoolExecutor],
) -> None:
    _, thread = way

    def warnings(*names: str, plane: str = "xdp+stack") -> tuple[str, ...]:
        settings = Start(
            plane=plane,
            deadline_s=1.0,
            coalesce_s=0.0,
            queue_base=0,
            queue_max=1,
            interfaces=names,
            flows_max=1,
            compiled=True,
        )
        engine = compiled.CompiledEngine(1.0, 0.0, (-1, -1))
        try:
            part = XdpPart(engine, settings)
            part.close()
        finally:
            engine.close()
        return part.warnings

    def look() -> None:
        for name in ("first", "second", "third"):
            subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
        assert warnings("first", plane="xdp") == ()
        (warning,) = warnings("far", "second")
        assert re.search(r"by second: .* that was given back would come again, so they go to no module", warning)
        with pytest.raises(SystemRefusedError, match=r"^second: .*; third: .* would come again$"):
            warnings("second", "third")

    thread.submit(look).result()
