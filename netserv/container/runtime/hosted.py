"""The life of one module in a container: loaded, started, running, stopped, gone."""

import contextlib
import inspect
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

import trio

from netserv.container.descriptors import close_all
from netserv.container.messages import Failed, Load, Loaded, Unloaded
from netserv.container.runtime.context import ModuleContext, Shared
from netserv.container.runtime.dispatcher import Dispatcher, Handler
from netserv.container.runtime.loading import ModuleSpace
from netserv.container.runtime.reports import failure_text

START_S: Final = 8.0
"For an asynchronous `start`; the node ends the container of one that takes 10."
STOP_S: Final = 1.5
"The node waits for 2."


class State(Enum):
    """How far it has come."""

    STARTING = auto()
    RUNNING = auto()
    STOPPING = auto()
    GONE = auto()


class Hosted:
    """One module. All its methods are for the packet thread.

    Args:
        load: what the node has said of it.
        descriptors: its listening sockets.
        shared: parts that it has in common with others.
        dispatcher: gives it its packets.
        call_soon: has a function called on the packet thread.
        gone: is called when nothing of it is left.
    """

    def __init__(
        self,
        load: Load,
        descriptors: list[int],
        shared: Shared,
        dispatcher: Dispatcher,
        call_soon: Callable[[Callable[[], None]], None],
        gone: Callable[[int], None],
    ) -> None:
        self.number = load.module
        self._filters = load.filters
        self._load, self._descriptors = load, descriptors
        self._shared, self._dispatcher, self._call_soon, self._gone = shared, dispatcher, call_soon, gone
        self._state = State.STARTING
        self._space: ModuleSpace | None = None
        self._activator: Any = None
        self._handler: Handler | None = None
        self.context: ModuleContext | None = None
        self._told_unload = False

    def begin(self) -> None:
        """Load and start it; says `Loaded` or `Failed` at the end."""
        try:
            self._prepare()
        except BaseException as error:
            self._could_not("load", error)
            return
        context, start = self.context, self._activator.start
        if context is None:
            return
        try:
            if context.runs_on_servers(start):
                context.tasks.spawn("start", self._start_there, start)
                return
            result = start(context)
            if inspect.isawaitable(result):
                context.tasks.spawn("start", self._start_there, lambda _: result)
                return
        except BaseException as error:
            self._could_not("start", error)
            return
        self._started(None)

    def give(self, filters: tuple[int, ...]) -> None:
        """Give it the packets of these filters from now on, and of no others."""
        self._filters = filters
        if self.context is not None:
            self.context.packet_filter = filters[0] if filters else 0
        if self._state is State.RUNNING and self._handler is not None:
            self._dispatcher.detach(self.number)
            for number in filters:
                self._dispatcher.attach(number, self._handler)

    def end(self) -> None:
        """Stop it; says `Unloaded` when nothing of it is left."""
        self._told_unload = True
        if self._state in {State.STOPPING, State.GONE}:
            return
        was_running = self._state is State.RUNNING
        self._state = State.STOPPING
        self._dispatcher.detach(self.number)
        context = self.context
        if context is None:
            self._over()
            return
        context.cancel_timers()
        stop = getattr(self._activator, "stop", None)
        try:
            if was_running and stop is not None and not self._stopped_here(context, stop):
                return  # what ends there ends the tasks too
        except BaseException as error:
            context.strikes.strike("stop", error)
        context.tasks.end()

    def _stopped_here(self, context: ModuleContext, stop: Callable[[], Any]) -> bool:
        """Stop it; False if that goes on on the server thread."""
        if context.runs_on_servers(stop):
            context.tasks.spawn("stop", self._stop_there, stop)
            return False
        result = stop()
        if inspect.isawaitable(result):
            context.tasks.spawn("stop", self._stop_there, lambda: result)
            return False
        return True

    def _prepare(self) -> None:
        load = self._load
        self.context = ModuleContext(load, self._descriptors, self._shared, lambda: self._call_soon(self._over))
        self._descriptors = []
        self.context.storage.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._space = ModuleSpace(load.module, load.directory)
        self._activator = self._space.load(load.entry)()
        if not callable(getattr(self._activator, "start", None)):
            raise TypeError(f"entry {load.entry} has no start; derive it from netserv.modules.api.Activator")
        if load.kind != "server":
            strikes = self.context.strikes
            self._handler = Handler(load.module, self._activator, lambda error: strikes.strike("process", error))

    async def _start_there(self, start: Callable[[ModuleContext], Any]) -> None:
        error: BaseException | None = None
        try:
            with trio.fail_after(START_S):
                result = start(self.context) if self.context is not None else None
                if inspect.isawaitable(result):
                    await result
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseException as caught:
            error = caught
        self._call_soon(lambda: self._started(error))

    async def _stop_there(self, stop: Callable[[], Any]) -> None:
        context = self.context
        if context is None:
            return
        try:
            with trio.fail_after(STOP_S):
                result = stop()
                if inspect.isawaitable(result):
                    await result
        except (trio.Cancelled, GeneratorExit):
            raise
        except BaseException as error:
            context.strikes.strike("stop", error)
        finally:
            context.tasks.end()

    def _started(self, error: BaseException | None) -> None:
        if self._state is not State.STARTING:
            return  # unloaded meanwhile
        if error is not None:
            self._could_not("start", error)
            return
        self._state = State.RUNNING
        self.give(self._filters)
        self._shared.reports.send(Loaded(self.number))

    def _could_not(self, where: str, error: BaseException) -> None:
        """Not a strike with an allowance: the node waits for this one."""
        self._shared.reports.send(Failed(self.number, where, failure_text(error)))
        self._state = State.STOPPING
        if self.context is None:
            self._over()
        else:
            self.context.cancel_timers()
            self.context.tasks.end()

    def _over(self) -> None:
        if self._state is State.GONE:
            return
        self._state = State.GONE
        close_all(self._descriptors)
        if self.context is not None:
            self.context.close()
        self._activator = self._handler = None
        if self._space is not None:
            with contextlib.suppress(Exception):  # a `__del__` of the module
                self._space.close()
        self._gone(self.number)
        if self._told_unload:
            self._shared.reports.send(Unloaded(self.number))
