"""Every file and command of docs/recipes.md is one that the programs take."""

import re
import shlex
from pathlib import Path

import pytest

from z2z.cli_options import parse_arguments, whole_parser

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
FILES = re.findall(r"^```toml\n# (\S+): \S+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = sorted(set(re.findall(r"(?<![\w./-])z2z (?:install-units|status|identity|--)[^|&`(\n]*", PAGE)))


def test_the_page_has_files_and_commands() -> None:
    assert len(FILES) == PAGE.count("```toml") >= 7
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize(("machine", "text"), FILES)
def test_a_file_is_taken(tmp_path: Path, machine: str, text: str) -> None:
    secret, config = tmp_path / "secret", tmp_path / "z2z.toml"
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    config.write_text(re.sub(r"^secret-file = .*$", f'secret-file = "{secret}"', text, flags=re.MULTILINE))
    assert parse_arguments(["--config", str(config)])


@pytest.mark.parametrize("line", COMMANDS)
def test_the_options_of_a_command_are_there(line: str) -> None:
    words = [word.partition(":")[0] if word.startswith("--") else word for word in shlex.split(line)[1:]]
    _, unknown = whole_parser().parse_known_args(words)
    assert unknown == []
