import msgspec
import pytest
import trio

from mdht.netifaces_io import interfaces
from tests.z2z.exports import signer, site
from z2z.bridge import Bridge, BridgeConfig
from z2z.errors import LinkError, LocalProtocolError
from z2z.this_host import own_prefixes


def config(tmp_path, **changes) -> BridgeConfig:
    fields = {"site": site(), "signer": signer(), "state_dir": tmp_path, "interface": "lo", **changes}
    return BridgeConfig(**fields)


def bridge(settings):
    said, noted = [], []
    return Bridge(settings, said.append, noted.append), said, noted


def test_what_a_program_does_makes_it_a_second_copy_whatever_the_order(tmp_path):
    def identity(**changes):
        return bridge(config(tmp_path, **changes))[0]._identity()

    one = identity(exports=(("mdht", "_a._tcp"), ("mdht", "_b._tcp")), keys=("Office", "home"))
    assert one == identity(exports=(("mdht", "_b._tcp"), ("mdht", "_a._tcp")), keys=("home", "o-f-f-i-c-e"))
    assert one != identity(exports=(("mdht", "_a._tcp"),), keys=("Office", "home"))
    assert one != identity(exports=(("mdht", "_a._tcp"), ("mdht", "_b._tcp")), keys=("home",))


def test_a_program_for_another_interface_is_no_second_copy(tmp_path):
    one, same, other, none = (
        bridge(config(tmp_path, keys=("office",), interface=name))[0]._identity() for name in ("a", "a", "b", None)
    )
    assert one == same
    assert len({one, other, none}) == 3


def test_loopback_is_no_prefix_of_this_host() -> None:
    assert not any(each.ip.is_loopback for each in own_prefixes("lo"))


def test_only_the_prefixes_of_the_link_shown_on_are_own_but_all_for_this_machine() -> None:
    everywhere = set(own_prefixes("lo"))
    assert all(set(own_prefixes(name)) <= everywhere for name in interfaces())
    assert set(own_prefixes("nosuch0")) == set()


@pytest.mark.parametrize("changes", [{"exports": (("memory", "_x._tcp"),)}, {"imports": ("memory",), "keys": ("x",)}])
def test_an_unknown_interface_ends_the_run(tmp_path, changes):
    runner, _, noted = bridge(config(tmp_path, interface="nope0", **changes))
    with pytest.raises(LinkError, match="'nope0' does not exist"):
        trio.run(runner.run, trio.Event())
    assert noted == []


def test_a_state_directory_that_cannot_be_used_ends_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    runner, _, _ = bridge(config(tmp_path / "file", imports=("memory",), keys=("x",)))
    with pytest.raises(LocalProtocolError, match="--state-dir"):
        trio.run(runner.run, trio.Event())


def test_the_summary_names_what_goes_on(tmp_path):
    runner, _, _ = bridge(
        config(tmp_path, exports=(("mdht", "_x._tcp"),), imports=("mdht",), keys=("office",), local_only=True)
    )
    runner._interface = "eth0"
    summary = runner._summary()
    assert "exporting _x._tcp of eth0 to mdht as office" in summary
    assert "importing office from mdht to this machine" in summary
    assert "site office" in summary


def test_the_answer_to_status_is_made_of_plain_values(tmp_path):
    runner, _, _ = bridge(config(tmp_path, exports=(("mdht", "_x._tcp"),)))
    answer = runner.answer()
    assert answer.program.exports == ("_x._tcp to mdht",)
    assert msgspec.json.decode(msgspec.json.encode(answer), type=type(answer)) == answer
