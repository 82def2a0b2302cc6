"""Words of commands in units of systemd (systemd.syntax(7), systemd.service(5))."""

from pathlib import Path


def unit_word(path: Path) -> str:
    """A path as one word of a command: in a unit `%` begins a specifier, and blanks end a word that is not quoted."""
    text = str(path).replace("%", "%%")
    if any(char in text for char in " \t\"'\\;"):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text
