import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netserv.container.runtime import main
from netserv.forwarding.ring import BoxEnd
from tests.netserv.container.runtime.boxes import Box


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Box]:
    """A container whose private directory is an empty one; its end of a ring may be chosen."""
    monkeypatch.setattr(main, "BoxEnd", getattr(request, "param", BoxEnd))
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.chdir(private)
    interval, bytecode = sys.getswitchinterval(), sys.dont_write_bytecode
    running = Box(tmp_path)
    yield running
    running.close()
    sys.setswitchinterval(interval)
    sys.dont_write_bytecode = bytecode
    gc.unfreeze()
