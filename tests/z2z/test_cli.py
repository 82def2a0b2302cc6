import json
import logging
import os
import signal
import sys

import pytest
import trio
import trio.testing

from tests.z2z.test_control import ANSWER
from z2z import cli
from z2z.cli import main
from z2z.cli_look import status, txt_strings
from z2z.cli_options import parse_arguments
from z2z.cli_output import Terminal
from z2z.control import copy_name, only_copy, run_directory, serve

pytestmark = pytest.mark.loopback


@pytest.fixture(autouse=True)
def _logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_wrong_usage_is_status_2(capsys):
    assert main(["--export", "daap"]) == 2
    assert main([]) == 2


def test_help_is_status_0(capsys):
    assert main(["--help"]) == 0
    assert "exit status" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--export:memory", "_x._tcp"], ["--import:memory", "--key", "x"], ["browse"]])
def test_an_interface_that_does_not_exist_is_one_line_and_status_1(argv, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main([*argv, "--interface", "nope0"]) == 1
    said = capsys.readouterr().err
    assert "'nope0' does not exist" in said
    assert said.count("\n") == 1


def test_an_identity_that_is_none_is_one_line_and_status_1(tmp_path, capsys):
    identity = tmp_path / "identity.pem"
    identity.write_text("hello")
    identity.chmod(0o600)
    assert main(["--import", "--key", "x", "--identity", str(identity), "--state-dir", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "does not hold an Ed25519 key" in said
    assert said.count("\n") == 1


def test_status_without_a_running_program_is_status_1(tmp_path, capsys):
    assert main(["status", "--state-dir", str(tmp_path)]) == 1
    assert "no z2z runs" in capsys.readouterr().out


def test_txt_is_shown_as_text():
    assert txt_strings(b"\x03a=1\x00\x02\xff=") == ("a=1", "\\xff=")


def test_a_second_copy_is_status_1(tmp_path, capsys):
    argv = ["--import:memory", "--key", "x", "--interface", "lo", "--state-dir", str(tmp_path)]
    with only_copy(run_directory(tmp_path), copy_name(("import:memory", "key:x", "dry run:False", "interface:lo"))):
        assert main(argv) == 1
    assert "already running" in capsys.readouterr().err


def test_status_prints_what_programs_say(tmp_path, capsys):
    async def served(argv):
        options = parse_arguments(argv)
        async with serve(run_directory(tmp_path), "one", lambda: ANSWER):
            return await status(options, Terminal(sys.stdout, json=options.json, verbosity=0))

    assert trio.run(served, ["status", "--state-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "z2z 7: export _daap._tcp to mdht as office" in said
    assert "exported" in said
    assert trio.run(served, ["status", "--state-dir", str(tmp_path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.strip().split("\n")]
    assert [line.get("pid") for line in lines] == [7, None]


def after_hangup(monkeypatch, terminals, on_hangup):
    """Whether a program is to end that has got SIGHUP, with or without a terminal before and after it."""
    found = iter(terminals)
    monkeypatch.setattr(cli, "_terminal_is_there", lambda: next(found))

    async def run():
        stop = cli._Stop()
        stop.on_hangup = on_hangup
        async with trio.open_nursery() as nursery:
            await nursery.start(stop.watch)
            os.kill(os.getpid(), signal.SIGHUP)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        return stop.event.is_set(), stop.status

    return trio.run(run)


def test_a_hangup_ends_the_program_unless_it_has_something_to_read_again(monkeypatch):
    called = []
    assert after_hangup(monkeypatch, [False, False], None) == (True, 0)
    assert after_hangup(monkeypatch, [False, False], lambda: called.append(1)) == (False, None)
    assert after_hangup(monkeypatch, [True, True], lambda: called.append(2)) == (False, None)
    assert called == [1, 2]
    # Its terminal was closed.
    assert after_hangup(monkeypatch, [True, False], lambda: called.append(3)) == (True, 0)
    assert called == [1, 2]


def test_a_faulty_policy_is_one_line_and_status_2(tmp_path, capsys):
    policy = tmp_path / "rules.toml"
    policy.write_text('[[rule]]\naction = "denny"\n')
    argv = ["--import:memory", "--key", "x", "--no-config", "--state-dir", str(tmp_path), "--policy", str(policy)]
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert f"argument --policy: policy {policy}: rule 1: action is" in said
    assert said.count("\n") == 1
    assert main([*argv[:-1], str(tmp_path / "nothing")]) == 2
    assert "No such file" in capsys.readouterr().err
