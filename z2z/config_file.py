"""`~/.config/z2z.toml`: what would else be said on the command line each time.

Where a user has none, `/etc/z2z/z2z.toml`, which is also that of the system's service.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from z2z.errors import LocalProtocolError
from z2z.systemd_units import SYSTEM_CONFIG

FILE_NAME: Final = "z2z.toml"
FILE_MAX: Final = 64 * 1024
EXPORT, IMPORT = "export", "import"
"""Words of the file whose options have a store in their name: `export = ["_daap._tcp", "opendht:_ipp._tcp"]`,
`import = ["mdht"]`."""


def default_path(environ: Mapping[str, str]) -> Path:
    """Where the file is looked for (XDG Base Directory Specification)."""
    base = environ.get("XDG_CONFIG_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / FILE_NAME


WITH_VALUE: Final = frozenset(
    [
        "key",
        "map",
        "map-import",
        "policy",
        "ttl",
        "refresh",
        "poll",
        "stale",
        "bootstrap",
        "proxy",
        "site",
        "identity",
        "secret-file",
        "link-key-file",
        "trust",
        "imports-max",
        "multicast-max",
        "interface",
        "state-dir",
        "metrics",
    ]
)
FLAGS: Final = frozenset(["local-only", "map-port", "host-keys", "allow-private", "force-type", "json"])
OPTIONS: Final = {EXPORT, IMPORT} | WITH_VALUE | FLAGS
"All but what is for one time, and the secret itself, which others might read there."


def arguments(path: Path, given: Sequence[str], *, required: bool) -> list[str]:
    """The words that the file stands for, to be read before those of the command line.

    What the command line says holds: of an option that is given there the file says nothing; and who says there what to
    export or import has said all of it.

    Args:
        path: of the file.
        given: words of the command line.
        required: whether the file must be there.

    Raises:
        LocalProtocolError: it cannot be read, or says something that is no option; the text names it.
    """
    try:
        if path.stat().st_size > FILE_MAX:
            raise LocalProtocolError(f"{path} has more than {FILE_MAX} bytes, so it is some other file")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise LocalProtocolError(f"there is no file {path}") from None
        return []
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # of UTF-8 and TOML, and of numbers with thousands of digits
        raise LocalProtocolError(f"{path} is not TOML: {error}") from error
    said = {word.partition("=")[0].removeprefix("--").partition(":")[0] for word in given if word.startswith("--")}
    if said & {EXPORT, IMPORT}:
        said |= {EXPORT, IMPORT}
    words: list[str] = []
    for name, value in table.items():
        if name not in OPTIONS:
            raise LocalProtocolError(
                f"{path}: {name!r} is no option for a file; there are {', '.join(sorted(OPTIONS))}"
            )
        if name not in said:
            words += _words(path, name, value)
    return words


def _words(path: Path, name: str, value: Any) -> list[str]:
    if name == EXPORT:
        return [word for text in _texts(path, name, value) for word in _export(text)]
    if name == IMPORT:
        return [f"--import:{text}" for text in _texts(path, name, value)]
    if name in FLAGS:
        if not isinstance(value, bool):
            raise LocalProtocolError(f"{path}: {name} is true or false, not {value!r}")
        return [f"--{name}"] if value else []
    return [f"--{name}={text}" for text in _texts(path, name, value)]


def _export(text: str) -> list[str]:
    store, colon, service_type = text.rpartition(":")
    return [f"--export:{store}" if colon else "--export", service_type]


def _texts(path: Path, name: str, value: Any) -> list[str]:
    """A value, or several, as words."""
    found = value if isinstance(value, list) else [value]
    for each in found:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            raise LocalProtocolError(f"{path}: {name} is a text, a number, or a list of them, not {each!r}")
    return [str(each) for each in found]


def path_of(given: Sequence[str]) -> tuple[Path, bool] | None:
    """The file to read and whether it must be there, as the command line says; None for none."""
    if "--no-config" in given:
        return None
    for number, word in enumerate(given):
        if word == "--config" and number + 1 < len(given):
            return Path(given[number + 1]), True
        if word.startswith("--config="):
            return Path(word.partition("=")[2]), True
    own = default_path(os.environ)
    return (own if own.exists() else SYSTEM_CONFIG), False
