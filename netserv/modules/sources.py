"""The directory in which a module is written: what of it goes into the bundle, and whether that can run."""

import ast
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from netserv.errors import LocalProtocolError
from netserv.modules.bundle import BUNDLE_BYTES_MAX, FILES_MAX, SIGNATURE_NAME
from netserv.modules.errors import BundleError
from netserv.modules.manifest import MANIFEST_NAME, read_manifest

_LEFT_OUT: Final = frozenset({"__pycache__", "tests", "build", "dist"})
"Directories that are for the author only; hidden ones are left out as well."
_ENDINGS_LEFT_OUT: Final = (".pyc", ".zip", ".pem", "~")
"Compiled code, earlier bundles, backup copies, and above all keys."
_NATIVE: Final = (".so", ".pyd", ".dylib")
_OURS: Final = "netserv"
"The package that modules import; one of their own with that name would hide it."


def read_sources(directory: Path) -> dict[str, bytes]:
    """The files of a module, by their paths in the bundle.

    Raises:
        LocalProtocolError: there is no module, a link in it, too much, or something cannot be read.
    """
    if not (directory / MANIFEST_NAME).is_file():
        raise LocalProtocolError(
            f"{directory} has no {MANIFEST_NAME}; `netserv module new` makes a module to begin with"
        )
    files: dict[str, bytes] = {}
    size = 0
    try:
        for path in _paths(directory):
            files[path.relative_to(directory).as_posix()] = data = path.read_bytes()
            size += len(data)
            if len(files) > FILES_MAX or size > BUNDLE_BYTES_MAX:
                raise LocalProtocolError(
                    f"{directory}: a bundle has at most {FILES_MAX} files and {BUNDLE_BYTES_MAX >> 20} MiB"
                )
    except OSError as error:
        raise LocalProtocolError(f"{error.filename}: {error.strerror or error}") from error
    return files


def check_sources(files: Mapping[str, bytes]) -> None:
    """Find out before a node does: syntax, native code, an entry that is not there.

    Raises:
        BundleError: the module could not be loaded.
    """
    manifest = read_manifest(files.get(MANIFEST_NAME, b""))
    trees = {}
    for name, data in files.items():
        if name.endswith(_NATIVE):
            raise BundleError(f"{name}: native code cannot be loaded in a container; Python and data only")
        if name.split("/", maxsplit=1)[0].removesuffix(".py") == _OURS:
            raise BundleError(f"{name}: would hide the package `{_OURS}` of the module API; rename it")
        if name.endswith(".py"):
            trees[name] = _parsed(name, data)
    path = manifest.entry_module.replace(".", "/")
    tree = trees.get(f"{path}.py") or trees.get(f"{path}/__init__.py")
    if tree is None:
        raise BundleError(f"entry {manifest.entry}: there is neither {path}.py nor {path}/__init__.py")
    if manifest.entry_class not in _names_bound(tree):
        raise BundleError(f"entry {manifest.entry}: {path}.py has no {manifest.entry_class} at its top level")


def _paths(directory: Path) -> Iterator[Path]:
    for place, directories, names in os.walk(directory, onerror=_refuse):
        directories[:] = sorted(name for name in directories if not name.startswith(".") and name not in _LEFT_OUT)
        for name in [*directories, *sorted(names)]:
            path = Path(place, name)
            if name.startswith(".") or name.endswith(_ENDINGS_LEFT_OUT) or name == SIGNATURE_NAME:
                continue
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield path
            elif not stat.S_ISDIR(mode):
                raise LocalProtocolError(f"{path} is a link or the like; a bundle has files only")


def _refuse(error: OSError) -> None:
    raise error


def _parsed(name: str, data: bytes) -> ast.Module:
    try:
        return ast.parse(data, name)
    except SyntaxError as error:
        raise BundleError(f"{name}, line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise BundleError(f"{name}: {error}") from None


def _names_bound(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from (alias.asname or alias.name for alias in names)
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case _:
                pass
