"""The choice of a plane, and why one is not to be had."""

import os

import pytest
import trio

from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.forwarding import bpf, choice, compiled
from netserv.forwarding.plane import BrokerPlane


async def _chosen(name: str) -> BrokerPlane:
    return await choice.choose_plane(name)


def test_xdp_comes_first_where_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "why_not", lambda name: "")
    assert trio.run(_chosen, "auto").name == "xdp"


def test_netfilter_comes_next_and_the_reason_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "BUILT", False)
    chosen = trio.run(_chosen, "auto")
    assert chosen.name == "netfilter"
    assert "C compiler" in chosen.refused[0]


def test_a_machine_that_gives_none_is_an_error_with_all_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "why_not", lambda name: f"no {name} here")
    with pytest.raises(SystemRefusedError, match=r"; xdp: no xdp here; netfilter: no netfilter here$"):
        trio.run(_chosen, "auto")


def test_a_kernel_without_bpf_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise bpf.BpfError(1, "a table of BPF is not given: Operation not permitted")

    monkeypatch.setattr(compiled, "BUILT", True)
    monkeypatch.setattr(bpf, "create_map", refuse)
    assert "CAP_BPF" in choice.why_not("xdp")


@pytest.mark.skipif(os.geteuid() != 0 or not compiled.BUILT, reason="BPF needs root")
@pytest.mark.parametrize("name", ["xdp", "xdp+stack"])
def test_this_machine_gives_xdp(name: str) -> None:
    assert choice.why_not(name) == ""


@pytest.mark.skipif(os.geteuid() != 0 or not compiled.BUILT, reason="BPF needs root")
def test_a_kernel_that_takes_no_packets_back_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: bytes) -> int:
        raise bpf.BpfError(22, "a program of BPF is not given: unknown func")

    monkeypatch.setattr(bpf, "load_classifier", refuse)
    assert choice.why_not("xdp") == ""
    assert "unknown func" in choice.why_not("xdp+stack")


def test_a_plane_that_auto_does_not_take_is_given_by_its_name() -> None:
    assert trio.run(_chosen, "xdp+stack").name == "xdp+stack"


def test_other_names_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match=r"auto, xdp, netfilter or xdp\+stack"):
        trio.run(_chosen, "openflow")
