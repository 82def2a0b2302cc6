"""Manual pages of the commands, made from their parsers: `python -m tools.man_pages --write`.

What a page says is what `--help` says, in the form of man-pages(7). A library does this too (argparse-manpage), but
leaves out the text after the options, which is where our examples and exit statuses stand.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from dhtboot.cli import whole_parser as dhtboot_parser
from mdht.options import whole_parser as mdht_parser
from netserv.cli_options import whole_parser as netserv_parser
from netserv_discovery.cli_options import whole_parser as discovery_parser
from z2z.cli_options import whole_parser as z2z_parser

COMMON_MIN: Final = 5
"So many options of one command are worth a line instead of an entry each."
PAGES: Final = Path(__file__).parent.parent / "man"
_ACTIONS: Final = argparse._SubParsersAction  # noqa: SLF001 - the only name it has
_SPECIAL: Final = str.maketrans(
    {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", '"': "\\(dq"}
)
"What roff(7) would take for something else, or print as a typographer would."

NAMES: Final[dict[str, tuple[str, Callable[[], argparse.ArgumentParser]]]] = {
    "z2z": ("carry DNS-SD services from link to link through a DHT", z2z_parser),
    "mdht": ("a store of signed records that peers keep among themselves", mdht_parser),
    "dhtboot": ("overlays that come into being from nothing", dhtboot_parser),
    "netserv": ("signalling to the routers on the path of a flow", netserv_parser),
    "netserv-discovery": ("advertise NetServ nodes, and find them", discovery_parser),
}
FILES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "z2z": (
        ("~/.config/z2z.toml", 'options, as in export = ["_ipp._tcp"]; $XDG_CONFIG_HOME is respected'),
        ("/etc/z2z/z2z.toml", "the same, where a user has no file; that of the system's service"),
        ("~/.local/state/z2z/", "identity.pem, known-sites, sockets of running programs; see --state-dir"),
        ("/var/lib/z2z/", "the same, of the system's service"),
    ),
    "mdht": (
        ("~/.local/state/mdht/net-NETWORK/", "name of the host, its key, records, control socket; see --state-dir"),
        ("/etc/default/mdht", "MDHT_OPTIONS= of the system's service"),
        ("/var/lib/mdht/", "state of the system's service"),
    ),
    "dhtboot": (),
    "netserv": (
        ("~/.local/state/netserv/", "name, key and certificate of this machine's node; see --state-dir"),
        ("publishers.toml", 'whose signed requests are accepted: NAME = "PUBLIC KEY", as netserv key prints it'),
    ),
    "netserv-discovery": (
        ("~/.local/state/netserv/", "key and name of this machine's node, where its signalling runs"),
        ("~/.local/state/netserv-discovery/", "a key of its own, where that does not run; see --state-dir"),
    ),
}


def roff(text: str) -> str:
    """Text as roff prints it unchanged, on one line."""
    escaped = " ".join(text.split()).translate(_SPECIAL)
    return f"\\&{escaped}" if escaped.startswith((".", "\\(aq")) else escaped


def page(name: str) -> str:
    """The page of a command."""
    what, make = NAMES[name]
    parser = make()
    lines = [
        '.\\" Made by tools/man_pages.py from the help of the command.',
        f'.TH {name.upper()} 1 "" z2z "User Commands"',
        ".SH NAME",
        f"{name} \\- {roff(what)}",
        ".SH SYNOPSIS",
        *_synopsis(parser),
        ".SH DESCRIPTION",
        roff(parser.description or ""),
        *_section("OPTIONS", _options(parser, _Told())),
        *_section("COMMANDS", _commands(parser)),
        *_epilog(parser, ".SH"),
        *_section("FILES", [line for path, text in FILES[name] for line in _item(f"\\fI{roff(path)}\\fR", text)]),
        ".SH SEE ALSO",
        ", ".join(f".BR {other} (1)" for other in NAMES if other != name).replace(", ", " ,\n"),
    ]
    return "\n".join(lines) + "\n"


def _section(head: str, lines: Sequence[str]) -> list[str]:
    return [f".SH {head}", *lines] if lines else []


def _synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    usage = parser.format_usage().removeprefix("usage: ") if parser.usage else f"{parser.prog} [options]"
    lines = [usage] if not parser.usage else [line.strip() for line in usage.strip().splitlines()]
    positional = [_arguments(parser, action) for action in parser._actions if not action.option_strings]  # noqa: SLF001
    for number, line in enumerate(lines):
        program, _, rest = line.partition(" ")
        words = "" if parser.usage else f" {' '.join(positional)}"
        yield from [".br"] if number else []
        yield f"\\fB{roff(program)}\\fR {roff(rest)}{words}"


def _arguments(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The values of an option, or the name of a positional argument."""
    formatter = parser._get_formatter()  # noqa: SLF001 - argparse has no other way to say it
    fallback = action.dest.upper() if action.option_strings else action.dest
    text = formatter._format_args(action, fallback)  # noqa: SLF001 - as above
    return f"\\fI{roff(text)}\\fR" if text else ""


class _Told:
    """Options of one command that others of the same program have too: a page tells of them once."""

    def __init__(self) -> None:
        self.program = ""
        self.options: dict[tuple[str, ...], str | None] = {}

    def tells(self, action: argparse.Action) -> bool:
        """Whether that one has this very option."""
        names = tuple(action.option_strings)
        return bool(names) and names in self.options and self.options[names] == action.help


def _options(parser: argparse.ArgumentParser, told: _Told) -> list[str]:
    """Positional arguments first, as in the help."""
    formatter = parser._get_formatter()  # noqa: SLF001 - for texts with %(default)s
    lines: list[str] = []
    shown = [each for each in parser._actions if each.help != argparse.SUPPRESS and not isinstance(each, _ACTIONS)]  # noqa: SLF001
    common = [each for each in shown if told.tells(each)]
    if len(common) < COMMON_MIN:
        common = []
    for action in sorted(shown, key=lambda each: bool(each.option_strings)):
        if action in common or (isinstance(action, argparse._HelpAction) and " " in parser.prog):  # noqa: SLF001
            continue
        names = ", ".join(f"\\fB{roff(each)}\\fR" for each in action.option_strings)
        text = formatter._expand_help(action) if action.help else ""  # noqa: SLF001
        lines += _item(" ".join(filter(None, [names, _arguments(parser, action)])), text)
    if common:
        names = ", ".join(f"\\fB{roff(each.option_strings[-1])}\\fR" for each in common)
        lines += [".PP", f"These options are those of \\fB{roff(told.program)}\\fR: {names}."]
    return lines


def _item(term: str, text: str) -> list[str]:
    return [".TP", term, roff(text) or "\\&"]


def _commands(parser: argparse.ArgumentParser) -> list[str]:
    lines: list[str] = []
    told = _Told()
    for action in parser._actions:  # noqa: SLF001 - as above
        if isinstance(action, _ACTIONS):
            for each in action.choices.values():
                lines += [f".SS {roff(each.prog)}", *_synopsis(each), ".PP", roff(each.description or "")]
                lines += [*_options(each, told), *_epilog(each, ".PP"), *_commands(each)]
                if not told.program:
                    told.program = each.prog
                    told.options = {tuple(one.option_strings): one.help for one in each._actions}  # noqa: SLF001
    return lines


def _epilog(parser: argparse.ArgumentParser, head: str) -> Iterator[str]:
    """What follows the options: examples as a list, then paragraphs; the exit status has a section of its own."""
    examples: list[tuple[str, str]] = []
    notes: list[str] = []
    status = ""
    for line in (parser.epilog or "").splitlines():
        command = re.fullmatch(r"  (\S.*?)(?: {2,}(\S.*))?", line)
        if line.startswith("exit status: "):
            status = line.removeprefix("exit status: ")
        elif command:
            examples.append((command[1], command[2] or ""))
        elif line.startswith("    ") and examples:
            examples[-1] = (examples[-1][0], f"{examples[-1][1]} {line.strip()}".strip())
        elif line and line != "examples:":
            notes.append(line)
    subsection = head != ".SH"
    if examples:
        yield from (".PP", "Examples:") if subsection else (".SH EXAMPLES",)
        for command_line, text in examples:
            yield from _item(f"\\fB{roff(command_line)}\\fR", text)
    if notes:
        yield ".PP" if subsection else ".SH NOTES"
        for number, note in enumerate(notes):  # a line that ends a sentence ends a paragraph
            yield from (".PP",) if number and notes[number - 1].endswith((".", ")")) else ()
            yield roff(note)
    if status:
        yield from (".PP", f"Exit status: {roff(status)}") if subsection else (".SH EXIT STATUS", roff(status))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the pages, or write them to `man/`."""
    parser = argparse.ArgumentParser(prog="python -m tools.man_pages", description="Manual pages of the commands.")
    parser.add_argument("--write", action="store_true", help="write them to man/ instead of printing them")
    options = parser.parse_args(argv)
    for name in NAMES:
        if options.write:
            PAGES.mkdir(exist_ok=True)
            (PAGES / f"{name}.1").write_text(page(name))
        else:
            sys.stdout.write(page(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
