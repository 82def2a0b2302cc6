"""The life of a container, gone through once in the zygote, with a module of our own.

Python prepares code when it runs it: it counts calls, rewrites instructions for the types that it meets, fills tables
of methods. What is prepared before the fork is on pages that all containers share, and takes none of them time.
"""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Final

from netserv.container import frames
from netserv.container.messages import Load, Ping, Unload
from netserv.container.runtime.dispatcher import Dispatcher, Handler
from netserv.container.runtime.loading import make_spare
from netserv.modules.api import ACCEPT, CHANGED, DROP, Answer
from netserv.modules.packets import Packet

TIMES: Final = 8
"As many calls as Python 3.11 waits for before it rewrites a function (`QUICKENING_WARMUP_DELAY`)."
_NUMBER: Final = 0
"Of no module on a node: they begin with 1."
_NAME: Final = "rehearsal"
_SOURCE: Final = """\
from netserv.modules.api import ACCEPT, Activator


class Rehearsal(Activator):
    def start(self, context):
        self.count = context.metrics.counter("packets")
        context.log.info("begins")

    def process(self, packet):
        return ACCEPT
"""
_PACKET: Final = bytes.fromhex("4500002000000000401100000a0000010a00000213c413c4000c00004e4f5445")
"UDP in IPv4."


def rehearse(run: Callable[[socket.socket], None], directory: Path) -> None:
    """Go through it; nothing is left but what Python has prepared.

    Args:
        run: what a container runs.
        directory: to be made for the time of it.
    """
    before = os.getcwd()
    directory.mkdir(mode=0o700)
    try:
        (directory / f"{_NAME}.py").write_text(_SOURCE, encoding="ascii")
        os.chdir(directory)  # as `/data` is for a container
        for _ in range(TIMES):
            _run_once(run, str(directory))
    finally:
        os.chdir(before)
        shutil.rmtree(directory)
    _treat_packets()
    make_spare()


def _run_once(run: Callable[[socket.socket], None], directory: str) -> None:
    node, container = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    load = Load(
        module=_NUMBER,
        name=_NAME,
        version="1.0.0",
        directory=directory,
        entry=f"{_NAME}:Rehearsal",
        kind="packet",
        filters=(_NUMBER,),
    )
    with node, container:
        for message in (Ping(_NUMBER), load, Unload(_NUMBER)):
            frames.send(node, message)
        node.shutdown(socket.SHUT_WR)
        run(container)


class _NoRing:
    """In the place of a ring: the memory of one stays mapped, and containers would have it in common."""

    def answer(self, slot: int, verdict: int, length: int = 0) -> None:
        """Nobody hears it."""

    def room(self, slot: int) -> memoryview:  # noqa: ARG002 - all slots are alike here
        """All of a slot."""
        return memoryview(bytearray(64))


class _Module:
    def __init__(self) -> None:
        self.answers: Iterator[Answer] = cycle((ACCEPT, DROP, b"", CHANGED))

    def process(self, packet: Packet) -> Answer:
        answer = next(self.answers)
        return packet.reply(packet.payload) if answer == b"" else answer


def _treat_packets() -> None:
    dispatcher, end, packet = Dispatcher(), _NoRing(), memoryview(bytearray(_PACKET))
    dispatcher.attach(_NUMBER, Handler(_NUMBER, _Module(), lambda _: None))
    for _ in range(TIMES):
        dispatcher.dispatch(end, [(0, _NUMBER, packet)] * TIMES)
