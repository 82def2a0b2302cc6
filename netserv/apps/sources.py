"""Finds the applications that come with the suite, wherever it is installed."""

from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from netserv.errors import LocalProtocolError

NAMES: Final = {"keep-alive": "keep_alive", "net-monitor": "net_monitor"}
"Directories by the names that users say."
_ENDINGS: Final = (".py", ".toml")


def app_files(name: str) -> dict[str, bytes]:
    """The files of an application, for a bundle.

    Args:
        name: as users say it.

    Raises:
        LocalProtocolError: there is none of that name.
    """
    directory = NAMES.get(name)
    if directory is None:
        raise LocalProtocolError(f"no application {name!r}; there are {', '.join(NAMES)}")
    return dict(_read(resources.files(__package__) / directory, ""))


def _read(place: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for each in sorted(place.iterdir(), key=lambda one: one.name):
        if each.is_file() and each.name.endswith(_ENDINGS):
            found.append((prefix + each.name, each.read_bytes()))
        elif each.is_dir() and each.name != "__pycache__":
            found += _read(each, f"{prefix}{each.name}/")
    return found
