"""After each test: its programs end well, and nothing has printed a traceback."""

import re
from collections.abc import Iterator

import pytest

from tests.end_to_end.sites import OPEN_LABS, SAID, TRACEBACK

OURS = re.compile(r"/(z2z|mdht|netserv|netserv-discovery)$")
STOP_S = 15.0
"Longest wait for a program that was asked to end: its own clean-up is bounded by 5 s."


@pytest.fixture(autouse=True)
def _clean_programs() -> Iterator[None]:
    """Stop what the test has left running; every log must be free of tracebacks, of failed tests too."""
    SAID.clear()
    before = {process.pid for lab in OPEN_LABS for process in lab.processes}
    yield
    started = [process for lab in OPEN_LABS for process in lab.processes if process.pid not in before]
    running = [process for process in started if process.poll() is None]
    # The last started first: a node that went before whoever listens to it would end that one by itself, and a signal
    # that then finds it half gone kills it.
    for process in reversed(running):
        process.terminate()
    ends = {process.log_path.name: (process.wait(STOP_S), process) for process in running}
    for process in started:
        SAID.append(f"== {process.log_path}: status {process.returncode}\n{process.log}")
    text = "\n".join(SAID)
    print(text)  # pytest shows it when the test has failed
    assert TRACEBACK not in text, text
    for name, (status, process) in ends.items():
        words = process.args if isinstance(process.args, list) else []
        if any(OURS.search(str(word)) for word in words):
            assert status == 0, f"{name} ended with status {status} on SIGTERM:\n{process.log}"
