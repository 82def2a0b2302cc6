"""Where programs of the suite keep their state."""

from collections.abc import Mapping
from pathlib import Path


def state_home(environ: Mapping[str, str]) -> Path:
    """Return the directory of this user for state (XDG Base Directory Specification): a relative one does not count."""
    base = environ.get("XDG_STATE_HOME") or ""
    return Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
