"""The root directory that containers see: Python's library, what a module may import, and nothing of this machine.

It is built once, in the mount namespace of the zygote, out of read-only views of the real directories at their real
paths, since imported modules remember where they came from. The zygote then has a root of its own around it, so that no
container ever inherits a mount of the machine:

    /skeleton   the root of containers       /accounts/N   data of publisher N, a file system of its own
    /store/N    modules of publisher N       /proc         of the zygote's PID namespace

All of it is in memory and in this namespace alone: when the last process of the node is killed, the kernel removes it.
"""

import importlib.util
import os
import shutil
import stat
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from netserv.container.kernel import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    bind,
    mount,
    pivot_root,
    unmount,
)
from netserv.errors import SystemRefusedError

SKELETON: Final = "/skeleton"
ACCOUNTS: Final = "/accounts"
STORE: Final = "/store"
DATA: Final = "/data"
SCRATCH: Final = "/tmp"  # noqa: S108 - of a container, not of this machine
OTHER_SCRATCH: Final = "/scratch"
"Where Python itself lies below /tmp."
MODULES: Final = "/modules"
NODE_ONLY: Final = "/.node"
"A file that only the machine's root may read: what a test of the user tries."
DEVICES: Final = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
"Major and minor numbers (null(4), random(4))."

_BASE: Final = "/run"
"Over which the new root is mounted in this namespace; no Python lives there."
_BOUND: Final = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
STORE_BYTES: Final = 512 << 20
"Files of all modules on this node; in memory, so bounded: 8 bundles of the largest size, or 5,000 of 100 KB."
PACKAGES: Final = ("trio", "msgspec", "h11", "attr", "sortedcontainers", "idna", "outcome", "sniffio")
"What modules import of others' libraries, and what trio imports."
OURS: Final = (
    "__init__.py",
    "checksum.py",
    "errors.py",
    "container/__init__.py",
    "container/datagrams.py",
    "container/descriptors.py",
    "container/frames.py",
    "container/messages.py",
    "container/runtime",
    "forwarding/__init__.py",
    "forwarding/ring.py",
    "modules/__init__.py",
    "modules/api.py",
    "modules/manifest.py",
    "modules/packets.py",
    "modules/blocks",
)
"What of this package containers import; all of it is in their memory already, the files are for tracebacks."


def build(more: Iterable[Path] = ()) -> str:
    """Make the new root and change into it; this process must be alone in its mount namespace.

    Args:
        more: further directories to show, for a runtime that lies elsewhere.

    Returns:
        Where containers have their directory for passing files.

    Raises:
        OSError: what the kernel refuses.
        SystemRefusedError: Python lies where containers have their own directories.
    """
    shown = [*_library(), *more]
    package = Path(__file__).resolve().parents[1]
    places = [*shown, package]
    for place in (DATA, MODULES, "/dev"):
        if any(path.is_relative_to(place) for path in places):
            raise SystemRefusedError(
                f"Python or this package lies below {place}, which containers have; install it elsewhere"
            )
    scratch = SCRATCH if not any(path.is_relative_to(SCRATCH) for path in places) else OTHER_SCRATCH
    mount("tmpfs", _BASE, "tmpfs", MS_NOSUID, "mode=755,size=16m")
    skeleton = _BASE + SKELETON
    os.mkdir(skeleton)
    mount("tmpfs", skeleton, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=16m")
    for path in shown:
        _show(path, skeleton)
    _copy_ours(package, skeleton)
    _devices(skeleton)
    for place in (DATA, scratch, MODULES):
        os.mkdir(skeleton + place)
    with open(os.open(skeleton + NODE_ONLY, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.write("only for the root of this machine\n")
    mount("tmpfs", skeleton, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC)
    _around()
    return scratch


def _around() -> None:
    """The zygote's own root, around that of containers."""
    for name in os.listdir(_BASE + SKELETON):
        os.symlink(f"{SKELETON[1:]}/{name}", f"{_BASE}/{name}")
    for path in (ACCOUNTS, STORE, "/proc"):
        os.mkdir(_BASE + path)
    mount("proc", _BASE + "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("tmpfs", _BASE + STORE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, f"mode=755,size={STORE_BYTES}")
    enter(_BASE)


def enter(new_root: str) -> None:
    """Make a mounted directory the root of this namespace, and forget the old one.

    Raises:
        OSError: what the kernel refuses.
    """
    os.chdir(new_root)
    pivot_root(".", ".")  # the old root now lies over the new one (pivot_root(2), notes)
    unmount(".")
    os.chdir("/")


def _library() -> Iterable[Path]:
    yield Path(sysconfig.get_path("stdlib"))
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None:
            yield from map(Path, spec.submodule_search_locations or ())


def _show(path: Path, skeleton: str) -> None:
    target = f"{skeleton}{path}"
    os.makedirs(target, exist_ok=True)
    bind(str(path), target, _BOUND)
    for foreign in ("site-packages", "dist-packages"):
        if (path / foreign).is_dir():  # of the machine's Python: not ours to show
            mount("tmpfs", f"{target}/{foreign}", "tmpfs", _BOUND, "mode=755,size=4k")


def _copy_ours(package: Path, skeleton: str) -> None:
    for name in OURS:
        source, target = package / name, Path(f"{skeleton}{package}") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
        elif source.exists():
            shutil.copy(source, target)


def _devices(skeleton: str) -> None:
    os.mkdir(f"{skeleton}/dev")
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"{skeleton}/dev/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{skeleton}/dev/{name}", 0o666)  # noqa: S103 - as everywhere; Landlock says which are written
