from hypothesis import given
from hypothesis import strategies as st

from netserv.publisher.net_monitor.reports import Counted, Report
from netserv.publisher.net_monitor.tally import FLOWS_MAX, SHOWN_MAX, TTLS_MAX, Tally

A, B, SERVER = "10.4.0.2", "10.4.0.3", "10.1.0.2"


def report(*counted: tuple[str, int, int], others: int = 0) -> Report:
    return Report(tuple(Counted(source, SERVER, ttl, packets) for source, ttl, packets in counted), others)


def test_counts_add_up_and_rates_are_those_of_the_last_interval() -> None:
    tally = Tally()
    tally.add("node1", report((A, 61, 10), (B, 61, 4)), 2.0)
    tally.add("node1", report((A, 61, 30), others=2), 2.0)
    assert tally.counted_at("node1") == (46, 16.0)
    a, b = tally.flows()
    assert (a.source, a.packets, a.per_second) == (A, 40, 15.0)
    assert (b.source, b.packets, b.per_second) == (B, 4, 0.0)


def test_a_flow_is_counted_once_though_each_node_sees_it_with_another_ttl() -> None:
    tally = Tally()
    tally.add("node1", report((A, 62, 10)), 1.0)
    tally.add("node2", report((A, 63, 11)), 1.0)
    (flow,) = tally.flows()
    assert (flow.packets, flow.per_second) == (11, 11.0)
    assert [(at.node, at.ttl, at.packets) for at in flow.at] == [("node1", 62, 10), ("node2", 63, 11)]


def test_a_node_that_reports_no_more_has_counted_but_counts_nothing() -> None:
    tally = Tally()
    tally.add("node1", report((A, 62, 10)), 1.0)
    tally.left("node1")
    tally.left("node9")
    assert tally.counted_at("node1") == (10, 0.0)
    assert [flow.per_second for flow in tally.flows()] == [0.0]
    assert tally.counted_at("node9") == (0, 0.0)


def test_the_flow_that_was_silent_for_longest_goes_for_a_new_one() -> None:
    tally = Tally()
    for first in range(0, FLOWS_MAX + 100, 100):
        names = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(first, first + 100)]
        tally.add("node1", report(*((name, 9, 1) for name in names)), 1.0)
    assert len(tally._flows) == FLOWS_MAX
    assert ("10.0.0.0", SERVER) not in tally._flows
    assert len(list(tally.flows())) == SHOWN_MAX
    tally.add("node1", report(*((A, ttl, 1) for ttl in range(256))), 1.0)
    assert len(tally._flows[A, SERVER].packets) == TTLS_MAX


COUNTED = st.tuples(st.sampled_from([A, B]), st.integers(0, 3), st.integers(0, 100))


@given(st.lists(st.tuples(st.sampled_from(["node1", "node2"]), st.lists(COUNTED, max_size=6), st.integers(0, 9))))
def test_every_packet_of_a_node_is_counted_there_once(
    reports: list[tuple[str, list[tuple[str, int, int]], int]],
) -> None:
    tally = Tally()
    for node, counted, others in reports:
        tally.add(node, report(*counted, others=others), 1.0)
    for node in ("node1", "node2"):
        whole = sum(sum(one[2] for one in counted) + others for name, counted, others in reports if name == node)
        assert tally.counted_at(node)[0] == whole
        seen = sum(at.packets for flow in tally.flows() for at in flow.at if at.node == node)
        assert seen == whole - sum(others for name, _, others in reports if name == node)
