import sys
from pathlib import Path

import pytest

from dhtboot.sim.huge_pages import HUGE_BYTES, aligned, use_huge_pages

MAPS = """\
5581c0000000-5581c0001000 rw-p 00002000 08:01 1234                       /usr/bin/python3.11
5581c0fff000-5581c1401000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000200000 r--p 00000000 00:00 0
7f0000300000-7f0000500000 rw-p 00000000 00:00 0
7f0000600000-7f0000a00000 rw-p 00000000 00:00 0
7f0001000000-7f0001400000 rw-s 00000000 00:01 99                         /dev/zero (deleted)
7ffc00000000-7ffc00800000 rw-p 00000000 00:00 0                          [stack]
"""


def test_only_whole_large_pages_of_the_heap_and_of_nameless_memory_are_asked_for() -> None:
    assert list(aligned(MAPS)) == [(0x5581C1000000, 0x5581C1400000), (0x7F0000600000, 0x7F0000A00000)]


def test_lines_that_are_none_of_linux_are_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        list(aligned("who knows what\n"))


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_memory_is_moved_and_says_the_same() -> None:
    data = bytearray(range(256)) * (4 * HUGE_BYTES // 256)
    moved = use_huge_pages()
    assert moved % HUGE_BYTES == 0
    assert data == bytearray(range(256)) * (4 * HUGE_BYTES // 256)
    if moved:  # an older kernel refuses
        rollup = Path("/proc/self/smaps_rollup").read_text()
        (huge_kb,) = (int(line.split()[1]) for line in rollup.splitlines() if line.startswith("AnonHugePages"))
        assert huge_kb * 1024 >= 3 * HUGE_BYTES
