import pytest

from mdht.experiments.churn_run import config
from mdht.experiments.internet import QUIET_S, Internet, StructureError
from mdht.experiments.sim_core import OVERLAY
from mdht.experiments.sim_host import SimHost, structural_changes


def settled(links: int, size: int, *, strict: bool = True) -> Internet:
    net = Internet(1, config(), strict=strict)
    for _ in range(size):
        for link in range(links):
            net.add(link)
            net.run(0.2)
    net.run(100.0)
    assert net.at_rest
    return net


def changed(host: SimHost) -> None:
    assert host.core is not None
    assert host.core.part is not None
    host.core.part.step.state.changes.made += 1


def test_all_tables_are_right_once_the_overlay_is_at_rest() -> None:
    net = settled(8, 2)
    assert net.wrong_tables() == []
    assert net.live == sorted(net.node_id(link) for link in range(8))


def test_a_structural_change_at_rest_is_an_error() -> None:
    net = settled(4, 2)
    changed(net.hosts[0])
    with pytest.raises(StructureError, match=r"seed 1, .* a structural change, but no node's death"):
        net.run(2.0)


def test_a_structural_change_at_rest_is_counted_where_it_is_no_error() -> None:
    net = settled(4, 2, strict=False)
    changed(net.hosts[0])
    net.run(2.0)
    assert (net.unexplained, net.at_rest) == (1, False)
    net.run(QUIET_S + 2.0)
    assert (net.unexplained, net.at_rest) == (1, True)


def test_hosts_that_come_and_go_do_not_disturb_the_rest_while_a_sibling_lives() -> None:
    net = settled(6, 2)
    net.crash(net.hosts[0])
    net.run(3.0)
    net.add(0)
    net.run(60.0)
    assert net.at_rest
    assert len(net.node_events) == 6, "the births"


def test_the_death_of_a_node_explains_changes_until_all_tables_are_right_again() -> None:
    net = settled(6, 1)
    before = net.structural_changes
    net.crash(net.hosts[0])
    assert net.node_events[-1] == (net.now, 0, False)
    assert not net.at_rest
    assert net.node_id(0) not in net.live
    net.run(150.0)
    assert net.structural_changes > before
    assert net.at_rest


def test_a_node_that_begins_to_be_explains_changes_before_it_is_ready() -> None:
    net = settled(6, 1)
    late = net.add(99)
    assert not net.at_rest
    net.run(150.0)
    assert late.ready
    assert net.node_events[-1][1:] == (99, True)
    assert net.at_rest


def test_a_host_that_leaves_last_is_the_death_of_its_node() -> None:
    net = settled(4, 1)
    net.leave(net.hosts[2])
    assert net.node_events[-1][1:] == (2, False)
    net.run(100.0)
    assert net.at_rest
    assert 2 not in net.links


def test_a_host_started_again_finds_its_former_identity_and_the_ring() -> None:
    net = settled(6, 1)
    former = net.hosts[3]
    net.crash(former)
    assert former.kept is not None
    net.run(5.0)
    host = net.restart(former)
    net.run(60.0)
    assert host.ready
    assert host.core is not None
    assert host.core.subnet == former.kept[0]
    assert host.core.subnet.identity.node_id(OVERLAY) == net.node_id(3)
    assert (host.core.hid, host.core.incarnation) == ((3).to_bytes(8, "big"), 2)
    net.run(100.0)
    assert net.at_rest, "and so it is in the ring of the others"


def test_a_key_belongs_to_the_first_live_node_that_is_not_before_it() -> None:
    net = settled(4, 1)
    first, second = net.live[:2]
    assert net.responsible(first) == first
    assert net.responsible(first + 1) == second
    assert net.responsible(net.live[-1] + 1) == first
    assert Internet(1, config()).responsible(1) is None


def test_who_is_in_no_subnet_has_found_no_changes() -> None:
    net = Internet(1, config())
    host = net.add(0)
    assert structural_changes(host) == 0
    net.crash(host)
    assert structural_changes(host) == 0
