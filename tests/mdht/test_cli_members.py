import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from mdht import cli_members, link_host
from mdht.cli import main
from mdht.options import parse_arguments
from mdht.subnet.membership import Membership
from mdht.subnet.view import View

pytestmark = pytest.mark.loopback

NETWORK = f"test-{os.getpid()}"
"Others may test on the same loopback."
ON_LOOPBACK = ["--interface", "lo", "--network", NETWORK]


@pytest.mark.parametrize("network", ["", "x" * 64])
def test_a_network_without_a_proper_name_is_wrong_usage(network: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["members", "--network", network])
    assert caught.value.code == 2
    assert "1 to 63 bytes" in capsys.readouterr().err


def test_help_says_that_joining_is_an_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["members", "--help"])
    assert "--join is experimental" in capsys.readouterr().out


def test_what_lasts_may_be_stopped() -> None:
    lasting = [cli_members.lasts(parse_arguments(["members", *more])) for more in ([], ["--watch"], ["--join"])]
    assert lasting == [False, True, True]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--interface", "nope0"], "no interface 'nope0'"),
        (["--interface", "lo", "--key-file", "/nonexistent/key"], "key file /nonexistent/key: No such file"),
        (["--interface", "lo", "--join", "--state-dir", "/proc/nowhere"], "state directory /proc/nowhere"),
        (ON_LOOPBACK, f"no member of {NETWORK} answers on lo; start one"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["members", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert why in err
    assert err.count("\n") == 1


def test_an_observer_on_the_members_own_machine_sees_it_and_is_not_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    views: list[View] = []

    class Noted(Membership):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            views.append(self.view)

    monkeypatch.setattr(link_host, "Membership", Noted)
    join = parse_arguments(["members", *ON_LOOPBACK, "--join", "--json", "--state-dir", str(tmp_path)])
    look = parse_arguments(["members", *ON_LOOPBACK])

    async def scene() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cli_members.run, join)
            await trio.sleep(cli_members.LISTEN_S + 0.2)
            assert await cli_members.run(look) == 0
            assert len(views[0]) == 0
            nursery.cancel_scope.cancel()

    trio.run(scene)
    lines = capsys.readouterr().out.splitlines()
    joins, settled, *overlay, ended = [json.loads(line) for line in lines if line.startswith("{")]
    assert (joins["event"], settled["event"], ended["event"]) == ("joins", "settled", "ended")
    assert {line["event"] for line in overlay} == {"overlay"}
    assert (overlay[-1]["stage"], overlay[-1]["neighbours"]) == ("in", 0), "without a server, a ring of its own"
    assert settled["identity"] == "random", "127.0.0.1 is no global address"
    assert joins["interfaces"] == ["lo"]
    head, row = [line.split() for line in lines if not line.startswith("{")]
    assert head == ["host", "state", "incarnation", "heard", "addresses"]
    assert row[:3] == [joins["hid"], "ready", "1"]
    assert row[-1] == joins["addresses"][-1]
    assert ended["counters"]["sent"] >= 4
