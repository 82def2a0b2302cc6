"""What is sent, and the programs that send and count, run by the kernel where it lets us."""

import os
import struct

import pytest

from netserv.apps.keep_alive.keep_alive import is_keep_alive
from netserv.bench import traffic
from netserv.checksum import internet_checksum
from netserv.forwarding import bpf

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="the kernel takes programs from root only")
COUNTERS = struct.Struct("=QQQQQQ16xQ")


@pytest.mark.parametrize("size", [64, 340])
def test_a_frame_has_its_size_and_a_right_header(size: int) -> None:
    packet = traffic.frame(size)[14:]
    assert len(packet) == size == int.from_bytes(packet[2:4])
    assert internet_checksum(packet[:20]) == 0


def test_a_keep_alive_of_the_thesis_size_is_one_for_the_module() -> None:
    frame = traffic.frame(340, notify=True)
    assert len(frame) == 14 + 340
    places = traffic.places(frame)
    assert len(places) == 2
    assert is_keep_alive(traffic.varied(frame, 7)[traffic.HEADERS_BYTES :], (traffic.SENDER, traffic.SOURCE_PORT))
    assert traffic.varied(frame, 7) != traffic.varied(frame, 8)


def test_flows_differ_in_their_ports_only() -> None:
    first, last = traffic.frame(64), traffic.frame(64, flow=99)
    assert first[:34] == last[:34]
    assert first[38:] == last[38:]
    assert int.from_bytes(last[36:38]) == traffic.PORT + 99


@ROOT
def test_the_generator_writes_frames_of_all_flows_anew_with_letters_of_their_own() -> None:
    counters = bpf.create_map(bpf.ARRAY, 4, traffic.COUNTERS_BYTES, 1)
    bpf.update(counters, bytes(4), COUNTERS.pack(0, 0, 1_000, 0, 0, 0, 0))
    sent = traffic.frame(340, notify=True)
    program = bpf.load_xdp(traffic.generator(1, sent, counters, 4))
    seen, letters = set(), set()
    for _ in range(200):
        _, frame = bpf.run_xdp(program, bytes(len(sent)))
        flow = int.from_bytes(frame[36:38]) - traffic.PORT
        expected = traffic.frame(340, notify=True, flow=flow)
        for at in traffic.places(sent):
            letters.add(frame[at : at + 4])
            assert all(0x61 <= each <= 0x70 for each in frame[at : at + 4])
            expected = expected[:at] + frame[at : at + 4] + expected[at + 4 :]
        assert frame == expected
        seen.add(flow)
    assert seen == {0, 1, 2, 3}
    assert len(letters) > 300
    os.close(program)
    os.close(counters)


@ROOT
def test_the_generator_sends_no_more_than_a_window_while_nothing_comes() -> None:
    counters = bpf.create_map(bpf.ARRAY, 4, traffic.COUNTERS_BYTES, 1)
    bpf.update(counters, bytes(4), COUNTERS.pack(0, 0, 3, 0, 0, 0, 0))
    sent = traffic.frame(64)
    program = bpf.load_xdp(traffic.generator(1, sent, counters))
    for _ in range(5):
        bpf.run_xdp(program, sent)
    assert COUNTERS.unpack(bpf.lookup(counters, bytes(4), COUNTERS.size)) == (3, 2, 3, 0, 0, 0, 0)
    bpf.update(counters, bytes(4), COUNTERS.pack(3, 2, 3, 0, 0, 0, 2))
    for _ in range(5):
        bpf.run_xdp(program, sent)
    assert COUNTERS.unpack(bpf.lookup(counters, bytes(4), COUNTERS.size)) == (5, 5, 3, 0, 0, 0, 2)
    os.close(program)
    os.close(counters)


@ROOT
def test_by_the_clock_a_frame_leaves_when_it_is_time_and_little_is_made_up_for() -> None:
    counters = bpf.create_map(bpf.ARRAY, 4, traffic.COUNTERS_BYTES, 1)
    minute, microsecond = 60_000_000_000 * traffic.TICKS, 1_000 * traffic.TICKS
    sent = traffic.frame(64)
    program = bpf.load_xdp(traffic.generator(1, sent, counters, by_clock=True))
    bpf.update(counters, bytes(4), COUNTERS.pack(0, 0, 0, 0, minute, 0, 0))
    for _ in range(3):
        bpf.run_xdp(program, sent)
    count, withheld, _, began, _, following, _ = COUNTERS.unpack(bpf.lookup(counters, bytes(4), COUNTERS.size))
    assert (count, withheld, following) == (1, 2, minute)
    bpf.update(counters, bytes(4), COUNTERS.pack(0, 0, 0, began - 1_000_000_000, microsecond, 0, 0))
    bpf.run_xdp(program, sent)
    following = COUNTERS.unpack(bpf.lookup(counters, bytes(4), COUNTERS.size))[5]
    assert following >= 1_000_000 * microsecond - traffic.BURST * microsecond
    os.close(program)
    os.close(counters)
