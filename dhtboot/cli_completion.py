"""Scripts by which shells complete the words of a command, made from its parser. The only file that imports shtab."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

SHELLS: Final = ("bash", "zsh")
_INTERFACES: Final = dict.fromkeys(SHELLS, "_network_interfaces")
_PREAMBLE: Final[dict[str, str]] = {
    "bash": '_network_interfaces() { compgen -W "$(cd /sys/class/net && echo *)" -- "$1"; }\n',
    "zsh": "_network_interfaces() { compadd -- /sys/class/net/*(:t) }\n",
}
_EXAMPLES: Final = """\
examples:
  source <({prog} completion bash)             in ~/.bashrc
  {prog} completion bash > /usr/share/bash-completion/completions/{prog}
                                               for all users, as root; needs the package bash-completion
  {prog} completion zsh > ~/.zfunc/_{prog}     with fpath=(~/.zfunc $fpath) before compinit in ~/.zshrc
"""


def add_command(make: Callable[..., argparse.ArgumentParser], prog: str) -> argparse.ArgumentParser:
    """Add `completion SHELL`.

    Args:
        make: `add_parser` of the program's commands.
        prog: name of the program.
    """
    parser = make(
        "completion",
        prog=f"{prog} completion",
        help="print the completion script of a shell",
        description="Prints a script by which a shell completes the words of this command.",
        epilog=_EXAMPLES.format(prog=prog),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell")
    return parser


def run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Print what was asked for."""
    show(script(parser, options.shell))
    return 0


def show(text: str) -> None:
    """Print a script."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # as after `| head`: what is buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a command.

    Args:
        parser: all that its command line may say.
        shell: one of `SHELLS`.
    """
    import shtab  # noqa: PLC0415 - every command has this one, and it takes longer to import than most others

    for action in _actions(parser):  # shtab looks for an attribute `complete`
        if action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif action.metavar == "IF":
            action.complete = _INTERFACES  # type: ignore[attr-defined]
        elif action.type is Path or "FILE" in str(action.metavar):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell=shell, preamble=_PREAMBLE[shell])


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every option and argument, those of commands too."""
    for action in parser._actions:  # noqa: SLF001 - argparse shows them nowhere else
        yield action
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each in action.choices.values():
                yield from _actions(each)
