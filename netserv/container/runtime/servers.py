"""The server thread: one trio loop for all asynchronous code of a container, begun when the first of it is there."""

import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from netserv.errors import LocalProtocolError

TASKS_MAX: Final = 4_096
"Of one module; one with more has no limit of its own on what comes in."
_START_S: Final = 10.0
"For the thread to come up: milliseconds, or seconds on a machine that is out of processor time."


class ServerThread:
    """A thread with a trio loop.

    Args:
        died: is called on it with what ended its loop, which only a bug does.
    """

    def __init__(self, died: Callable[[BaseException], None]) -> None:
        self._died = died
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have a function called on the server thread, from any thread; nothing of it is called once that has ended."""
        with self._lock:
            if self._thread is None:
                self._thread = self._started()
        if self._token is not None:
            try:
                self._token.run_sync_soon(function)
            except trio.RunFinishedError:
                return

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="servers", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise LocalProtocolError(
                f"the server thread does not start: {error}; is pids of the limits too low?"
            ) from None
        if not self._ready.wait(_START_S):
            raise LocalProtocolError(f"the server thread has not come up in {_START_S:g} s")
        return thread

    def start_task(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a task beside all others; on the server thread only. It must not raise."""
        if self._nursery is None:
            raise LocalProtocolError("the server thread does not run")
        self._nursery.start_soon(function)

    def close(self, patience_s: float) -> None:
        """End it and all its tasks; wait for so long."""
        if self._thread is not None and self._nursery is not None:
            self.call_soon(self._nursery.cancel_scope.cancel)
            self._thread.join(patience_s)

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self._died(error)
        finally:
            self._ready.set()

    async def _main(self) -> None:
        async with trio.open_nursery() as self._nursery:
            self._token = trio.lowlevel.current_trio_token()
            self._ready.set()
            await trio.sleep_forever()


class Tasks:
    """The tasks of one module. All calls from any thread.

    Args:
        thread: they run on.
        strike: is told, on that thread, where one has failed and what it has raised.
        over: is called on that thread when all of them have ended after `end`.
    """

    def __init__(
        self, thread: ServerThread, strike: Callable[[str, BaseException], None], over: Callable[[], None]
    ) -> None:
        self._thread, self._strike, self._over = thread, strike, over
        self._nursery: trio.Nursery | None = None
        self._early: deque[tuple[str, Callable[..., Awaitable[Any]], tuple[Any, ...]]] = deque()
        self._count = 0
        self._ended = False
        self.used = False
        "Whether there was any."

    def spawn(self, where: str, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Run an `async` function; what it raises is a strike, and so is one too many.

        Raises:
            LocalProtocolError: the server thread does not start.
        """
        if not self.used:
            self._thread.call_soon(lambda: self._thread.start_task(self._host))
            self.used = True
        self._thread.call_soon(lambda: self._begin(where, function, arguments))

    def end(self) -> None:
        """Cancel them, and call `over` when they have gone; at once if there was none."""
        if self.used:
            self._thread.call_soon(self._cancel)
        else:
            self._over()

    def _begin(self, where: str, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        if self._ended:
            return
        if self._count >= TASKS_MAX:
            self._strike(where, LocalProtocolError(f"a module has at most {TASKS_MAX} tasks; limit what comes in"))
            return
        self._count += 1
        if self._nursery is None:
            self._early.append((where, function, arguments))
        else:
            self._nursery.start_soon(self._guarded, where, function, arguments)

    def _cancel(self) -> None:
        self._ended = True
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _host(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._ended:
                    nursery.cancel_scope.cancel()
                while self._early:
                    nursery.start_soon(self._guarded, *self._early.popleft())
                await trio.sleep_forever()
        finally:
            self._over()

    async def _guarded(self, where: str, function: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> None:
        try:
            await function(*arguments)
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseExceptionGroup as group:
            cancelled, others = group.split((trio.Cancelled, GeneratorExit))
            if others is not None:
                self._strike(where, others)
            if cancelled is not None:
                raise cancelled from None
        except BaseException as error:
            self._strike(where, error)
        finally:
            self._count -= 1
