"""A container without walls: the runtime in a thread of the test, and the node's end of its socket."""

import os
import socket
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from netserv.container import frames
from netserv.container.descriptors import close_all
from netserv.container.messages import (
    AttachRing,
    Failed,
    FromContainer,
    Load,
    Loaded,
    Log,
    Metrics,
    Ping,
    Pong,
    ToContainer,
    Unload,
    Unloaded,
)
from netserv.container.runtime.main import run
from netserv.forwarding.broker_end import BrokerEnd
from netserv.forwarding.ring import Ring

PATIENCE_S = 20.0


class Box:
    """A container."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.heard: list[FromContainer] = []
        "What it has said and nobody has asked for yet."
        self.node, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.node.settimeout(PATIENCE_S)
        self._thread = threading.Thread(target=self._run, args=(inside,), daemon=True)
        self._thread.start()
        self._inside = inside
        self.ring: Ring | None = None
        self.broker: BrokerEnd[int] | None = None
        self.error: BaseException | None = None

    def _run(self, inside: socket.socket) -> None:
        try:
            run(inside)
        except BaseException as error:
            self.error = error
        finally:
            inside.close()

    def close(self) -> None:
        self.node.close()
        self._thread.join(PATIENCE_S)
        if self.broker is not None:
            self.broker.close()
        if self.ring is not None:
            self.ring.close()
        assert not self._thread.is_alive()
        assert self.error is None, self.error

    def say(self, message: ToContainer, *descriptors: int) -> None:
        frames.send(self.node, message, descriptors)

    def hear(self, kind: Any) -> Any:
        """The next message of a kind; others stay in `heard`."""
        for index, message in enumerate(self.heard):
            if isinstance(message, kind):
                del self.heard[index]
                return message
        while True:
            try:
                message = frames.receive_from_container(self.node)
            except TimeoutError:
                raise AssertionError(f"no {kind.__name__}, but {self.heard}") from None
            assert message is not None, self.heard
            if isinstance(message, kind):
                return message
            self.heard.append(message)

    def load(
        self, number: int, files: Mapping[str, str], *, sockets: Mapping[tuple[str, int], int] = {}, **more: Any
    ) -> Load:
        """Have a module loaded, whatever comes of it."""
        place = self.directory / f"module{number}"
        for name, text in files.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        values = {"name": f"M{number}", "version": "1.0", "entry": "main:M", "kind": "packet"} | more
        load = Load(module=number, directory=str(place), ports=tuple(sockets), **values)
        self.say(load, *sockets.values())
        close_all(list(sockets.values()))
        return load

    def run(self, number: int, text: str, **more: Any) -> None:
        """Load a module of one file, which has to succeed."""
        self.load(number, {"main.py": text}, **more)
        self.loaded(number)

    def loaded(self, number: int) -> None:
        """The module runs."""
        kept: list[FromContainer] = []
        while True:
            message = self.hear(Loaded | Failed)
            if message.module == number and (isinstance(message, Loaded) or message.where in {"load", "start"}):
                assert isinstance(message, Loaded), message.text
                self.heard += kept
                return
            kept.append(message)

    def unload(self, number: int) -> None:
        self.say(Unload(number))
        assert self.hear(Unloaded) == Unloaded(number)

    def attach(self) -> None:
        self.ring = Ring.create(64)
        self.broker = BrokerEnd(*self.ring.broker_descriptors)
        self.say(AttachRing(), *self.ring.box_descriptors)
        # A packet that is there before the container has looked is none of its.
        self.say(Ping(0))
        self.hear(Pong)

    def answers(self, *packets: bytes, number: int = 1) -> list[tuple[int, bytes]]:
        """What becomes of packets: verdict, and the packet if it was changed, in their order."""
        assert self.broker is not None
        for token, packet in enumerate(packets, 1):
            assert self.broker.post(packet, number, token) is not None
        self.broker.wake()
        found = sorted(self.collected(len(packets)), key=lambda answer: answer.token or 0)
        return [(answer.verdict, bytes(answer.data)) for answer in found]

    def collected(self, count: int) -> list[Any]:
        """So many answers and injected packets."""
        broker = self.broker
        assert broker is not None
        found: list[Any] = []

        def enough() -> bool:
            found.extend(broker.collect())
            return len(found) >= count

        until(enough)
        return found

    def log_until(self, text: str) -> Log:
        while True:
            line = self.hear(Log)
            if text in line.text:
                return line

    def metrics_until(self, **wanted: float) -> None:
        while self.hear(Metrics).counters != wanted:
            pass


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def listening() -> tuple[socket.socket, int]:
    """A listening socket of the loopback interface, of the kind that nodes hand out, and its port."""
    opened = socket.create_server(("::ffff:127.0.0.1", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return opened, opened.getsockname()[1]


def duplicate(opened: socket.socket) -> int:
    return os.dup(opened.fileno())
