"""Loading modules into a container that runs, and taking them out."""

from collections.abc import Callable
from contextlib import suppress

import trio

from netserv.container.box import Box
from netserv.container.messages import Load, Unload
from netserv.container.publishers import Module, Publisher
from netserv.container.root import MODULES
from netserv.container.states import Event, Loaded, ModuleState
from netserv.container.supervisor_config import SupervisorConfig
from netserv.errors import UnreachableError


class Loader:
    """Who calls holds the lock of the publisher."""

    def __init__(self, config: SupervisorConfig, nursery: trio.Nursery, tell: Callable[[Event], None]) -> None:
        self._config, self._nursery, self._tell = config, nursery, tell

    async def load(self, publisher: Publisher, box: Box, module: Module) -> None:
        """Load a module that is unpacked, and wait until it runs.

        Raises:
            UnreachableError: it does not; the text has its last words.
            SystemRefusedError: somebody has one of its ports.
        """
        module.state, module.failure, module.said = ModuleState.LOADING, "", trio.Event()
        module.open_ports()
        ends = module.box_ends(self._nursery)
        try:
            await box.say(_words(module), [sock.fileno() for sock in ends])
        finally:
            for sock in ends:
                sock.close()
        with trio.move_on_after(self._config.load_s):
            await module.said.wait()
        if not module.said.is_set():
            _blame(publisher, box, module, f"module {module.number} has not started in {self._config.load_s:g} s")
            await box.ended.wait()
            module.failure = module.failure or box.why
        if module.failure:
            module.state = ModuleState.FAILED
            raise UnreachableError(f"{module.installation.manifest.name} was not started: {module.failure}")
        module.state = ModuleState.RUNNING
        module.backoff.started(trio.current_time())
        self._tell(Loaded(module.number, module.restarts > 0))

    async def unload(self, publisher: Publisher, box: Box, module: Module) -> None:
        """Stop a module; one that does not stop ends its container, and the others come back."""
        module.said = trio.Event()
        with suppress(UnreachableError):
            await box.say(Unload(module.number))
        with trio.move_on_after(self._config.unload_s):
            await module.said.wait()
        if not module.said.is_set() and not box.ended.is_set():
            _blame(publisher, box, module, f"module {module.number} does not stop")
            await box.ended.wait()


def _blame(publisher: Publisher, box: Box, guilty: Module, why: str) -> None:
    """End a container because of one module: the others come back, whatever their policy."""
    for module in publisher.modules.values():
        module.innocent = module is not guilty
    box.end(why)


def _words(module: Module) -> Load:
    manifest = module.installation.manifest
    return Load(
        module=module.number,
        name=manifest.name,
        version=manifest.version,
        directory=f"{MODULES}/{module.number}",
        entry=manifest.entry,
        kind=manifest.kind,
        properties=dict(module.installation.properties),
        ports=tuple((port.proto, port.port) for port in module.installation.ports),
        filters=module.filters,
        exports=manifest.exports,
    )
