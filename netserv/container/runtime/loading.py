"""Python files of a module in a namespace of their own: two modules may have files of the same names.

In `sys.modules` the files of module 7 are below `_netserv_module_7`, so that dataclasses, pickles and tracebacks find
them. Their own `import helper` means that `helper`: the interpreter asks the `__import__` in a file's `__builtins__`,
which is one that looks into the module's directory first. This keeps modules from being confused, not from harming each
other: they are of one publisher.
"""

import builtins
import importlib
import linecache
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any, Final

from netserv.errors import RemoteProtocolError

_PREFIX: Final = "_netserv_module_"
_RESERVED: Final = frozenset({"netserv"})
"What modules import from us; a file of that name would hide it."

_spare_builtins: Final[list[dict[str, Any]]] = []


def make_spare() -> None:
    """Before the fork, for the first module: a copy refers to all of them, so that their pages would be copied too."""
    _spare_builtins[:] = [dict(vars(builtins))]


class ModuleSpace:
    """The files of one module.

    Args:
        number: of the module; no two at a time have the same.
        directory: where its files are.

    Raises:
        RemoteProtocolError: there is no such directory.
    """

    def __init__(self, number: int, directory: str) -> None:
        self.package = f"{_PREFIX}{number}"
        self._directory = directory
        self._own = _top_names(directory)
        self._finder = _Finder(self)
        root = ModuleType(self.package)
        root.__path__ = [directory]
        self._scope = {"__name__": self.package, "__package__": self.package, "__path__": [directory]}
        self.builtins: dict[str, Any] = _spare_builtins.pop() if _spare_builtins else dict(vars(builtins))
        self.builtins["__import__"] = self._import
        sys.modules[self.package] = root
        sys.meta_path.insert(0, self._finder)

    def load(self, entry: str) -> Any:
        """What `package.module:Name` names.

        Raises:
            RemoteProtocolError: nothing of the module.
            BaseException: whatever its code raises.
        """
        path, _, name = entry.partition(":")
        if path.partition(".")[0] not in self._own:
            raise RemoteProtocolError(f"entry {entry}: the module has no {path.partition('.')[0]}")
        module = importlib.import_module(f"{self.package}.{path}")
        try:
            return getattr(module, name)
        except AttributeError:
            raise RemoteProtocolError(f"entry {entry}: {path} has no {name}") from None

    def close(self) -> None:
        """Forget all of it."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        for name in [name for name in sys.modules if name == self.package or name.startswith(f"{self.package}.")]:
            # Functions that something still holds keep working on an emptied namespace no more; cycles are broken.
            sys.modules.pop(name).__dict__.clear()
        for path in [path for path in sys.path_importer_cache if path.startswith(self._directory)]:
            del sys.path_importer_cache[path]
        for path in [path for path in linecache.cache if path.startswith(self._directory)]:
            del linecache.cache[path]

    def _import(
        self,
        name: str,
        scope: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        names: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level == 0 and name.partition(".")[0] in self._own:
            # As if the file stood in a package and had said `from . import name`.
            return builtins.__import__(name, self._scope, None, names or (), 1)
        return builtins.__import__(name, scope, variables, names or (), level)


class _Finder(MetaPathFinder):
    """Finds the files of one module, Python source only: bytecode without source could be anything."""

    def __init__(self, space: ModuleSpace) -> None:
        self._space = space
        self._by_path: dict[str, FileFinder] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{self._space.package}.") or path is None:
            return None
        for place in path:
            finder = self._by_path.setdefault(place, FileFinder(place, (self._loader, [".py"])))  # type: ignore[arg-type]
            spec = finder.find_spec(fullname, target)
            if spec is not None:
                return spec
        return None

    def _loader(self, fullname: str, path: str) -> "_Loader":
        return _Loader(fullname, path, self._space)


class _Loader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, space: ModuleSpace) -> None:
        super().__init__(fullname, path)
        self._space = space

    def exec_module(self, module: ModuleType) -> None:
        # Not `get_code`, which would take bytecode that lies beside the source.
        code = self.source_to_code(self.get_data(self.path), self.path)
        module.__dict__["__builtins__"] = self._space.builtins
        exec(code, module.__dict__)  # noqa: S102 - what an import is

    def set_data(self, path: str, data: object, *, _mode: int = 0o666) -> None:
        """Keep no bytecode: the directory is read-only."""


def _top_names(directory: str) -> frozenset[str]:
    try:
        with os.scandir(directory) as entries:
            names = {
                entry.name.removesuffix(".py") for entry in entries if entry.is_dir() or entry.name.endswith(".py")
            }
    except OSError as error:
        raise RemoteProtocolError(f"directory {directory}: {error.strerror or error}") from error
    return frozenset(name for name in names if name.isidentifier()) - _RESERVED
