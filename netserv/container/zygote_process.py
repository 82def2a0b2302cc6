"""The zygote as the node sees it: starting the process, asking it, and being told which containers have ended."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import trio

from netserv.container.descriptors import close_all, receive, send
from netserv.container.zygote_messages import (
    Ended,
    FromZygote,
    Prepare,
    Prepared,
    Refused,
    Release,
    Start,
    Started,
    ToZygote,
    Up,
)
from netserv.errors import SystemRefusedError

UP_S: Final = 30.0
"Longest wait for a zygote to have imported everything: 0.3 s on an idle machine."
ANSWER_S: Final = 10.0
END_S: Final = 5.0
# The first two end with this process, whatever ends it; the namespace of processes then ends all that is in it.
_COMMAND: Final = (
    *("setpriv", "--pdeathsig", "KILL", "--"),
    *("unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--"),
    *(sys.executable, "-I", "-m", "netserv.container.zygote"),
)
_FRAME_MAX: Final = 8192
_DESCRIPTORS_MAX: Final = 8


class ZygoteProcess:
    """One zygote. Answers come in the order of the questions for each slot, so that one may wait for each slot."""

    def __init__(
        self,
        runtime: str,
        directories: Sequence[Path],
        ended: Callable[[int, int], None],
        gone: Callable[["ZygoteProcess"], None],
    ) -> None:
        """Not started yet.

        Args:
            runtime: module whose `run` a container runs.
            directories: where it is, if not in this package.
            ended: is called with the slot of a container that has ended, and its status.
            gone: is called when the zygote has ended, and with it all its containers.
        """
        self._runtime, self._directories, self._ended, self._gone = runtime, directories, ended, gone
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._waiting: dict[int, tuple[trio.Event, list[tuple[FromZygote, list[int]]]]] = {}
        self.alive = False

    async def begin(self, nursery: trio.Nursery) -> None:
        """Start it, and return when it serves.

        Raises:
            SystemRefusedError: it cannot run here.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = [*_COMMAND, str(theirs.fileno()), self._runtime, *map(str, self._directories)]
        try:
            # Not by trio, which starts processes on a thread of its own: the end of that thread would kill it.
            self._process = subprocess.Popen(  # noqa: ASYNC220 - as said
                arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            ours.close()
            raise SystemRefusedError(f"no zygote: {error}; containers need util-linux (setpriv, unshare)") from error
        finally:
            theirs.close()
        ours.setblocking(False)
        self._socket, self.alive = ours, True
        with trio.move_on_after(UP_S):
            message = await self._receive()
            if message is not None and isinstance(message[0], Up):
                nursery.start_soon(self._listen)
                return
        await self.aclose()
        raise SystemRefusedError("the zygote of containers has not come up; its words are above. It needs root")

    async def prepare(self, request: Prepare) -> tuple[int, int]:
        """Make directories; returns data (O_PATH) and store, the caller's to close.

        Raises:
            SystemRefusedError: not made.
        """
        _, descriptors = await self._ask(request, Prepared)
        return descriptors[0], descriptors[1]

    async def start(self, request: Start, descriptors: Sequence[int]) -> int:
        """Fork a container; returns a descriptor of its process, the caller's to close.

        Raises:
            SystemRefusedError: not forked.
        """
        _, answered = await self._ask(request, Started, descriptors)
        return answered[0]

    def release(self, slot: int) -> None:
        """Remove the directories of a slot."""
        if self.alive:
            self._send(Release(slot=slot))

    async def aclose(self) -> None:
        """End it, and with it all containers."""
        self.alive = False
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_end, process)

    async def _ask(
        self, request: Prepare | Start, kind: type[FromZygote], descriptors: Sequence[int] = ()
    ) -> tuple[FromZygote, list[int]]:
        if not self.alive or request.slot in self._waiting:
            raise SystemRefusedError("the zygote of containers has ended")
        event, answers = trio.Event(), list[tuple[FromZygote, list[int]]]()
        self._waiting[request.slot] = (event, answers)
        try:
            self._send(request, descriptors)
            with trio.move_on_after(ANSWER_S):
                await event.wait()
        finally:
            del self._waiting[request.slot]
        if not answers:
            raise SystemRefusedError("the zygote of containers does not answer")
        message, given = answers[0]
        if isinstance(message, kind):
            return message, given
        close_all(given)
        raise SystemRefusedError(message.text if isinstance(message, Refused) else f"the zygote says {message}")

    def _send(self, message: ToZygote, descriptors: Sequence[int] = ()) -> None:
        try:
            if self._socket is not None:
                send(self._socket, msgspec.msgpack.encode(message), descriptors, socket.MSG_NOSIGNAL)
        except OSError as error:  # also where its buffer is full: it has 100 requests before it, and answers none
            raise SystemRefusedError(f"the zygote of containers does not listen: {error}") from error

    async def _listen(self) -> None:
        while (received := await self._receive()) is not None:
            message, descriptors = received
            if isinstance(message, Ended):
                self._ended(message.slot, message.status)
            elif not isinstance(message, Up) and message.slot in self._waiting:
                event, answers = self._waiting[message.slot]
                answers.append((message, descriptors))
                event.set()
            else:
                close_all(descriptors)
        self.alive = False
        for event, _ in self._waiting.values():
            event.set()
        self._gone(self)

    async def _receive(self) -> tuple[FromZygote, list[int]] | None:
        while self._socket is not None:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                data, descriptors, _ = receive(self._socket, _FRAME_MAX, _DESCRIPTORS_MAX)
            except BlockingIOError:
                continue
            except (OSError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            return msgspec.msgpack.decode(data, type=FromZygote), descriptors
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself once its socket is closed."""
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def process_number(process: int) -> int:
    """The number of a process by its descriptor; 0 when it has ended (`Pid:` in pidfd_open(2))."""
    try:
        with open(f"/proc/self/fdinfo/{process}", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
    except OSError:
        return 0
    return max(0, int(fields.get("Pid", "0")))


def kill(process: int) -> None:
    """End a process by its descriptor, and all below it in its PID namespace."""
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        return
