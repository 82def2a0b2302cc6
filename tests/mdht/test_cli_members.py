import os

import pytest
import trio

from mdht import cli_members
from mdht.cli import main
from mdht.config import MdhtConfig
from mdht.errors import UnreachableError
from mdht.node import open_mdht
from mdht.options import parse_arguments
from mdht.signing import SigningKey

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


def test_what_lasts_may_be_stopped() -> None:
    assert [cli_members.lasts(parse_arguments(["members", *more])) for more in ([], ["--watch"])] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--interface", "nope0"], "no interface 'nope0'"),
        (["--interface", "lo", "--key-file", "/nonexistent/key"], "key file /nonexistent/key: No such file"),
        (ON_LOOPBACK, f"no member of {NETWORK} answers on lo; start one"),
    ],
    ids=["no interface", "no key", "nobody"],  # the same in each process of a test run, which the network is not
)
def test_what_cannot_be_done_is_said_in_one_line(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["members", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert why in err
    assert err.count("\n") == 1


def test_an_observer_on_the_members_own_machine_sees_it_and_is_not_seen(capsys: pytest.CaptureFixture[str]) -> None:
    config = MdhtConfig(network=NETWORK, interfaces=("lo",), port=0)

    async def scene() -> tuple[str, str]:
        async with open_mdht(config, SigningKey.generate()) as node:
            await node.host.keeper()
            assert await cli_members.run(parse_arguments(["members", *ON_LOOPBACK])) == 0
            assert len(node.host.core.membership.view) == 0
            status = node.status()
            assert (status.phase, status.members, status.contacts) == ("joined", (), 0)
            return status.host, status.addresses[-1]

    host, address = trio.run(scene)
    head, row = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["host", "state", "incarnation", "heard", "addresses"]
    assert row[:3] == [host, "ready", "1"]
    assert row[-1] == address


def test_an_observer_of_hosts_that_sign_needs_the_option_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    config = MdhtConfig(network=NETWORK, interfaces=("lo",), port=0, host_keys=True)

    async def scene() -> str:
        async with open_mdht(config, SigningKey.generate()) as node:
            await node.host.keeper()
            assert await cli_members.run(parse_arguments(["members", *ON_LOOPBACK, "--host-keys"])) == 0
            with pytest.raises(BaseExceptionGroup) as caught:
                await cli_members.run(parse_arguments(["members", *ON_LOOPBACK]))
            assert caught.group_contains(UnreachableError, match="without signing; add --host-keys")
            return node.status().host

    host = trio.run(scene)
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == [host, "ready", "1"]
