"""`z2z install-units`: writes unit files."""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from z2z.cli_output import Terminal
from z2z.cli_units_options import UnitsOptions
from z2z.errors import LocalProtocolError
from z2z.systemd_units import MARK, SYSTEM_CONFIG, UnitName, out_of_reach, unit

log = logging.getLogger(__name__)

SYSTEM_UNITS: Final = Path("/etc/systemd/system")
FILE_MAX: Final = 64 * 1024
"Bytes of a unit that may be ours; it has some 1,500."


def install_units(options: UnitsOptions, terminal: Terminal) -> int:
    """Write them, or print them; always 0, as whatever cannot be done is raised.

    Raises:
        LocalProtocolError: a file cannot be written, or the programs are where a service cannot reach them.
    """
    programs = {name: _program(name) for name in options.units}
    if not options.user:
        _check_reach([*programs.values(), Path(sys.executable).resolve(), Path(__file__)], fatal=not options.only_print)
    directory = options.directory or (_user_units(os.environ) if options.user else SYSTEM_UNITS)
    for name, program in programs.items():
        text = unit(name, program, user=options.user)
        path = directory / f"{name}.service"
        if options.only_print:
            terminal.text(f"# {path}\n{text.rstrip()}")
        else:
            _write(path, text)
            terminal.text(f"wrote {path}")
    if not options.only_print:
        _tell_what_next(options, terminal)
    return 0


def _tell_what_next(options: UnitsOptions, terminal: Terminal) -> None:
    systemctl = "systemctl --user" if options.user else "systemctl"
    config = "~/.config/z2z.toml" if options.user else SYSTEM_CONFIG
    said = f"write {config} and say there what to export or import; then: " if "z2z" in options.units else ""
    terminal.note(f"{said}{systemctl} daemon-reload && {systemctl} enable --now {' '.join(options.units)}")


def _program(name: UnitName) -> Path:
    """Where it is installed: beside this Python, whose path may be a link that must not be followed."""
    path = Path(sys.executable).absolute().parent / name
    if not path.exists():
        raise LocalProtocolError(f"there is no {path}; install the distribution with pip, not from its source alone")
    return path


def _check_reach(paths: list[Path], *, fatal: bool) -> None:
    where = out_of_reach(paths)
    if where is None:
        return
    text = (
        f"the service runs as a user of its own, who cannot reach {where}; install z2z elsewhere, as by "
        "python3 -m venv /opt/z2z && /opt/z2z/bin/pip install . in the source, or take --user"
    )
    if fatal:
        raise LocalProtocolError(text)
    log.warning("%s", text)


def _user_units(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "systemd" / "user"


def _write(path: Path, text: str) -> None:
    """Write a unit whole or not at all; one that somebody else wrote stays."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and not path.read_bytes()[:FILE_MAX].startswith(MARK.encode())):
            raise LocalProtocolError(f"{path} was not written by z2z install-units; move it away first")
        draft.write_text(text)
        draft.chmod(0o644)
        draft.rename(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        who = ", as root, or with --user" if isinstance(error, PermissionError) else ""
        raise LocalProtocolError(f"{path}: {error.strerror or error}{who}") from error
