"""In processes of their own: they end as the zygote of containers is before it forks."""

import os
import subprocess
import sys
from pathlib import Path

REHEARSAL = """
import os, sys, tempfile, threading
from pathlib import Path
from netserv.container.runtime import main
from netserv.container.runtime.rehearsal import rehearse

def state():
    modules = [name for name in sys.modules if name.startswith("_netserv_module_")]
    shared = [line for line in open("/proc/self/maps") if line.split()[1].endswith("s")]
    return modules, os.listdir("/proc/self/fd"), threading.active_count(), os.getcwd(), len(sys.meta_path), shared

said = []
class Reports(main.Reports):
    def send(self, message):
        said.append(type(message).__name__)
        super().send(message)

main.Reports = Reports
before = state()
rehearse(main.run, Path(sys.argv[1], "rehearsal"))
assert state() == before, (before, state())
assert tempfile.tempdir is None and os.listdir(sys.argv[1]) == []
assert said[:4] == ["Pong", "Log", "Loaded", "Unloaded"] and len(said) % 4 == 0, said
print("held")
"""
MEMORY = """
import gc
from netserv.container.runtime import memory
memory.settle()
assert gc.get_freeze_count() and not gc.isenabled()
for size in range(64, 513, 16):
    made = [memory._object_of(size) for _ in range(16_384 // size)]
    # What is left of the one that was begun, a new one, and one more where another size had emptied it.
    assert len({id(one) // memory.POOL_BYTES for one in made}) <= 3, size
memory.give_back()
print("held")
"""


def held(script: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONMALLOC": "pymalloc"},
    )
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


def test_a_rehearsal_leaves_nothing_behind(tmp_path: Path) -> None:
    held(REHEARSAL, str(tmp_path))


def test_objects_of_a_container_lie_together() -> None:
    held(MEMORY)
