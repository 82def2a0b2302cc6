"""Settings of the whole suite."""

import signal
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

ROOT: Final = Path(__file__).parents[1]

# How long an example takes says what else the machine does, and nothing of the code. The same examples each time, so
# that a change is told from chance; `pytest --hypothesis-profile explore` looks at others.
settings.register_profile("z2z", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("z2z")

# Where the suite runs in the background of a shell, that has it and all it starts ignore Ctrl-C, which tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)


class ByFile(LoadFileScheduling):
    """Tests of a file go to one worker, as they share what the module sets up; so do all that share the loopback."""

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return "loopback" if _is_loopback(path) else path


@cache
def _is_loopback(path: str) -> bool:
    """As the Makefile sees it: marks are not known where tests are handed out."""
    return "mark.loopback" in (ROOT / path).read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile | None:
    """Take over `--dist loadfile`."""
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None
