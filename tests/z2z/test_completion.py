"""Completion as a person at a shell has it: by bash itself, and by zsh at a terminal."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dhtboot.cli import main as dhtboot
from mdht.cli import main as mdht
from netserv.cli import main as netserv
from z2z.cli import main as z2z

MAINS = {"z2z": z2z, "mdht": mdht, "dhtboot": dhtboot, "netserv": netserv}
PATIENCE_S = 20.0
# What bash does at a Tab (bash(1), Programmable Completion), with the words of the arguments.
TAB = """\
source "$0"
[[ $(complete -p "$1") =~ -F\\ ([^ ]+) ]]
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
"${BASH_REMATCH[1]}" "$1" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(program: str, shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert MAINS[program](["completion", shell]) == 0
    return capsys.readouterr().out


def tab(path: Path, *words: str) -> set[str]:
    done = subprocess.run(["bash", "-c", TAB, str(path), *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_bash_completes_options_commands_files_and_interfaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "script"
    path.write_text(script("z2z", "bash", capsys))
    assert tab(path, "z2z", "--im") == {"--import", "--imports-max"}
    assert tab(path, "z2z", "--export", "_ipp._tcp", "--force") == {"--force-type"}
    assert {"browse", "status", "identity", "install-units", "completion"} <= tab(path, "z2z", "")
    assert tab(path, "z2z", "identity", "tr") == {"trust"}
    assert tab(path, "z2z", "completion", "") == {"bash", "zsh"}
    assert tab(path, "z2z", "browse", "--interface", "l") == {"lo"}
    assert tab(path, "z2z", "--secret-file", str(tmp_path / "scr")) == {str(path)}


@pytest.mark.parametrize(
    ("program", "words", "found"),
    [
        ("mdht", ["run", "--overlay", ""], {"kademlia", "chord"}),
        ("mdht", ["ru"], {"run"}),
        ("mdht", ["status", "--prom"], {"--prometheus"}),
        ("dhtboot", ["li"], {"live"}),
        ("dhtboot", ["serve", "--status"], {"--status-interval"}),
        ("netserv", ["signal", ""], {"daemon", "status"}),
        ("netserv", ["signal", "daemon", "--interceptor", "t"], {"tproxy"}),
        ("netserv", ["probe", "--tow"], {"--toward"}),
    ],
)
def test_bash_completes_the_other_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], program: str, words: list[str], found: set[str]
) -> None:
    path = tmp_path / "script"
    path.write_text(script(program, "bash", capsys))
    assert tab(path, program, *words) == found


def test_zsh_completes_at_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zsh = shutil.which("zsh")
    assert zsh, "tools/install_system.sh installs it"
    for program in MAINS:
        (tmp_path / f"_{program}").write_text(script(program, "zsh", capsys))
    terminal, inside = pty.openpty()
    environ = {"TERM": "dumb", "PS1": "READY", "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    shell = subprocess.Popen(
        [zsh, "-f", "-i"], stdin=inside, stdout=inside, stderr=inside, env=environ, start_new_session=True
    )
    os.close(inside)
    seen = ""

    def wait_for(pattern: str) -> None:
        nonlocal seen
        end = time.monotonic() + PATIENCE_S
        while not re.search(pattern, seen):
            assert time.monotonic() < end, seen
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 4096).decode(errors="replace")
        seen = ""

    def type_in(text: str) -> None:
        os.write(terminal, text.encode())

    try:
        wait_for("READY")
        type_in(f"fpath=({tmp_path} $fpath); autoload -U compinit; compinit -u -D; print COMP'LETE'\n")
        wait_for("COMPLETE")
        for typed, completed in (
            ("z2z --imports\t", r"--imports-max"),
            ("z2z ident\t", r"z2z identity "),
            ("z2z browse --interface l\t", r"--interface lo "),
            ("mdht run --overlay ch\t", r"--overlay chord"),
            ("dhtboot serve --status\t", r"--status-interval"),
        ):
            type_in(typed)
            wait_for(completed)
            type_in("\x15")  # Ctrl-U: a new line
    finally:
        os.close(terminal)
        shell.kill()
        shell.wait()


def test_a_shell_that_is_not_known_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert z2z(["completion", "fish"]) == 2
    assert "invalid choice: 'fish'" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_failure() -> None:
    program = Path(sys.executable).parent / "z2z"
    line = f"'{program}' completion bash | true"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.stderr == ""
