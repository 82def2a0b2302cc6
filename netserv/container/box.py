"""One running container as the node sees it: its socket, its output, and whether it answers.

The container may lie and may be silent. What it says is bounded by the pace at which it is read, and whether it lives
is asked from outside: one that stays silent is killed.
"""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import trio

from netserv.container.frames import receive_from_container, send
from netserv.container.logs import Output
from netserv.container.messages import FromContainer, Ping, Pong, Ready, ToContainer
from netserv.container.zygote_process import kill
from netserv.errors import NetservError, RemoteProtocolError, UnreachableError

_PINGS: Final = 5
"Within the longest silence that is allowed."
SAY_S: Final = 5.0
END_S: Final = 0.5
FRAMES_A_TURN: Final = 64
TURN_S: Final = 0.01
"At most 6,400 frames a second of one container are read; a container that says more waits, or loses its own words."
OUTPUT_TURN_BYTES: Final = 65_536
OUTPUT_TURN_S: Final = 0.05
"1.3 MB of output a second."
RUBBISH_MAX: Final = 16
"Frames that are none, before it is killed: a runtime of ours sends none."


class Box:
    """A container from its start to its end."""

    def __init__(
        self, control: socket.socket, output: int, process: int, pong_s: float, hasten: Callable[[], None]
    ) -> None:
        """Take over the descriptors of a container; `hasten` is called when it is killed, so that it ends soon."""
        control.setblocking(False)
        os.set_blocking(output, False)
        self._control, self._output, self.process = control, output, process
        self._pong_s, self._hasten = pong_s, hasten
        self.ready = trio.Event()
        "Its walls have been tested, or it has said why not."
        self.walls: dict[str, bool] = {}
        self.why = ""
        "Why it is being ended."
        self.ended = trio.Event()
        self.status = 0
        self.rubbish = 0
        self.ping_number = self.pong_number = 0
        self._settling: dict[int, trio.Event] = {}
        "Who waits for the answer to a Ping, by its number."
        self._saying = trio.Lock()
        self._closed = False

    async def run(self, message: Callable[[FromContainer], None], line: Callable[[str], None]) -> None:
        """Serve it until it has ended.

        Args:
            message: is called with what it says.
            line: is called with each line that it prints.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, message)
                nursery.start_soon(self._print, line)
                nursery.start_soon(self._ping)
                await self.ended.wait()
                with trio.move_on_after(TURN_S):  # what it has said last
                    await trio.sleep_forever()
                nursery.cancel_scope.cancel()
        finally:
            self.end("the node stops")
            if not self.ended.is_set():
                self.gone(-signal.SIGKILL)  # nobody is left who would be told
            self._closed = True
            self._control.close()
            os.close(self._output)
            os.close(self.process)

    def end(self, why: str) -> None:
        """Kill it."""
        if not self.ended.is_set() and not self._closed:
            self.why = self.why or why
            kill(self.process)
            self._hasten()

    def gone(self, status: int) -> None:
        """It has ended, with a status as in `Ended`."""
        self.status = status
        self.ended.set()
        self.ready.set()
        for waiting in self._settling.values():
            waiting.set()

    def let_go(self) -> None:
        """Ask it to end: it sees that the node has closed its side."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    async def say(self, message: ToContainer, descriptors: Sequence[int] = ()) -> None:
        """Send it a message.

        Raises:
            UnreachableError: it has ended, or does not read; then it is killed.
        """
        async with self._saying:
            with trio.move_on_after(SAY_S):
                while True:
                    try:
                        send(self._control, message, descriptors)
                    except BlockingIOError:
                        await trio.lowlevel.wait_writable(self._control)
                    except OSError as error:
                        raise UnreachableError(f"the container has ended: {error}") from error
                    else:
                        return
            self.end("it does not read what the node says")
            raise UnreachableError("the container does not read what the node says")

    async def settled(self) -> None:
        """Wait until it has done all that it was told.

        Raises:
            UnreachableError: it has ended.
        """
        self.ping_number += 1
        number, answered = self.ping_number, trio.Event()
        self._settling[number] = answered
        try:
            await self.say(Ping(number))
            await answered.wait()
        finally:
            del self._settling[number]
        if self.ended.is_set():
            raise UnreachableError("the container has ended")

    async def _read(self, message: Callable[[FromContainer], None]) -> None:
        while True:
            for _ in range(FRAMES_A_TURN):
                await trio.lowlevel.wait_readable(self._control)
                try:
                    received = receive_from_container(self._control)
                except BlockingIOError:
                    break
                except RemoteProtocolError:
                    self.rubbish += 1
                    if self.rubbish >= RUBBISH_MAX:
                        self.end("what it says makes no sense")
                    continue
                if received is None:
                    with trio.move_on_after(END_S):  # the zygote tells how it has ended, if it has
                        await self.ended.wait()
                    self.end("it has closed its socket")
                    return
                self._note(received)
                message(received)
            await trio.sleep(TURN_S)

    def _note(self, message: FromContainer) -> None:
        match message:
            case Ready(walls=walls) if not self.ready.is_set():
                self.walls = dict(walls)
                self.ready.set()
            case Pong(number=number):
                if number == self.ping_number:
                    self.pong_number = number
                if number in self._settling:
                    self._settling[number].set()

    async def _print(self, line: Callable[[str], None]) -> None:
        output = Output()
        while True:
            await trio.lowlevel.wait_readable(self._output)
            try:
                data = os.read(self._output, OUTPUT_TURN_BYTES)
            except BlockingIOError:
                continue
            if not data:
                return
            for text in output.feed(data):
                line(text)
            await trio.sleep(OUTPUT_TURN_S)

    async def _ping(self) -> None:
        await self.ready.wait()
        while True:
            self.ping_number += 1
            with suppress(NetservError):
                await self.say(Ping(self.ping_number))
            for _ in range(_PINGS):
                await trio.sleep(self._pong_s / _PINGS)
                if self.pong_number == self.ping_number:
                    break
            else:
                self.end(f"it has not answered for {self._pong_s:g} s")
                return


def status_text(status: int) -> str:
    """How a process ended, in words."""
    return f"it was killed by signal {-status}" if status < 0 else f"it ended with status {status}"
