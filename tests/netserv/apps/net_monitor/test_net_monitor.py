import json
from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from netserv.apps.net_monitor.net_monitor import FLOWS_MAX, LAST_S, LINE_FLOWS, NetMonitor, report_lines
from netserv.apps.sources import app_files
from netserv.errors import UnreachableError
from netserv.modules.api import ACCEPT, COUNT_FLOW, Counted, Packet
from netserv.modules.blocks.metrics import Metrics
from netserv.modules.sources import check_sources
from netserv.publisher.net_monitor.reports import Reports, read_hello
from tests.netserv.modules.test_packets import TCP, UDP, packet_bytes, view


class Node:
    """A node with one module, in one thread: what runs where is its own business."""

    def __init__(self, **properties: str) -> None:
        self.properties, self.metrics = properties, Metrics()
        self.said: list[str] = []
        self.log = SimpleNamespace(warning=lambda text, *words: self.said.append(text % words))
        self.turn: Callable[[], None] = lambda: None
        self.nursery: trio.Nursery | None = None
        self.streams: list[Any] = []
        self.asked: list[tuple[str, int]] = []

    def every(self, _seconds: float, function: Callable[[], None]) -> None:
        self.turn = function

    def spawn(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        assert self.nursery is not None
        self.nursery.start_soon(function, *arguments)

    async def connect(self, host: str, port: int) -> Any:
        self.asked.append((host, port))
        await trio.lowlevel.checkpoint()
        if not self.streams:
            raise UnreachableError("this publisher may connect nowhere")
        return self.streams.pop(0)


def started(node: Node) -> NetMonitor:
    module = NetMonitor()
    module.start(node)  # type: ignore[arg-type]
    return module


def packets(source: str, count: int, ttl: int = 61) -> list[Packet]:
    destination = "10.1.0.2" if ip_address(source).version == 4 else "2001:db8::2"
    return [Packet(memoryview(view(packet_bytes((source, destination), UDP, b"x")).replaced(ttl=ttl)))] * count


def total(module: NetMonitor) -> int:
    return sum(module._counts.values()) + module._others


def test_packets_are_counted_by_source_destination_and_ttl_and_pass() -> None:
    module = started(Node())
    batch = packets("10.4.0.2", 3) + packets("10.4.0.2", 2, ttl=7) + packets("2001:db8::9", 1)
    assert module.process_batch(batch) is COUNT_FLOW
    assert module.process(packets("10.4.0.2", 1)[0]) is COUNT_FLOW
    four, six = (ip_address(end).packed for end in ("10.4.0.2", "2001:db8::9"))
    to_four, to_six = (ip_address(end).packed for end in ("10.1.0.2", "2001:db8::2"))
    assert module._counts == {(61, four + to_four): 4, (7, four + to_four): 2, (61, six + to_six): 1}


@given(st.lists(st.binary(min_size=20, max_size=60), max_size=20))
def test_any_packets_are_counted_once_or_have_no_addresses(datas: list[bytes]) -> None:
    module = started(Node())
    assert module.process_batch([view(data) for data in datas]) is COUNT_FLOW
    assert total(module) == sum(data[0] < 0x60 or len(data) >= 40 for data in datas)


def test_flows_beyond_the_limit_are_counted_together() -> None:
    node = Node()
    module = started(node)
    for number in range(FLOWS_MAX + 500):
        module.process(packets(f"10.9.{number >> 8}.{number & 255}", 1)[0])
    module.process_batch(packets("10.9.0.0", 20))
    assert len(module._counts) == FLOWS_MAX
    assert module._others == 500
    assert total(module) == FLOWS_MAX + 520
    assert node.metrics.values()["packets"] == FLOWS_MAX + 520


def counted(source: str, count: int, ttl: int = 61) -> Counted:
    ends = ip_address(source).packed, ip_address("10.1.0.2").packed
    return Counted(*ends, 5060, 6000, 17, ttl, count, 29 * count)


def test_what_the_kernel_has_counted_is_added_to_what_was_seen() -> None:
    node = Node()
    module = started(node)
    module.process(packets("10.4.0.2", 1)[0])
    module.counted([counted("10.4.0.2", 7), counted("10.4.0.2", 2, ttl=7)])
    ends = ip_address("10.4.0.2").packed + ip_address("10.1.0.2").packed
    assert module._counts == {(61, ends): 8, (7, ends): 2}
    assert node.metrics.values()["packets"] == 10
    for number in range(FLOWS_MAX):
        module.counted([counted(f"10.9.{number >> 8}.{number & 255}", 1)])
    assert (len(module._counts), module._others, total(module)) == (FLOWS_MAX, 2, FLOWS_MAX + 10)


def test_without_offload_the_kernel_is_not_asked_to_count() -> None:
    module = started(Node(offload="no"))
    assert module.process(packets("10.4.0.2", 1)[0]) is ACCEPT
    assert module.process_batch(packets("10.4.0.2", 2)) is ACCEPT


def test_tcp_is_counted_as_well() -> None:
    module = started(Node())
    module.process(view(packet_bytes(("10.4.0.2", "10.1.0.2"), TCP, b"x")))
    assert total(module) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"report": "10.1.0.2"}, {"report": ":80"}, {"interval": "0"}, {"interval": "soon"}, {"offload": "perhaps"}],
)
def test_wrong_properties_fail_the_installation(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="property"):
        started(Node(**wrong))


@given(st.dictionaries(st.tuples(st.integers(0, 255), st.binary(min_size=8, max_size=8)), st.integers(1, 99)))
def test_a_report_is_read_as_it_was_written(counts: dict[tuple[int, bytes], int]) -> None:
    reports, whole = Reports(), []
    for line in report_lines(Counter(counts), 5):
        assert len(line["flows"]) <= LINE_FLOWS  # type: ignore[arg-type]
        whole.append(reports.take(json.dumps(line).encode()))
    *before, report = whole
    assert before == [None] * len(before)
    assert report is not None
    assert report.others == 5
    read = {
        (one.ttl, ip_address(one.source).packed + ip_address(one.destination).packed): one.packets
        for one in report.flows
    }
    assert read == counts


async def test_counts_are_streamed_and_wait_where_nobody_takes_them(clock: trio.testing.MockClock) -> None:
    node = Node(report="10.1.0.2:9000", token="t0k3n", interval="2")
    async with trio.open_nursery() as node.nursery:
        module = started(node)
        module.process_batch(packets("10.4.0.2", 5))
        node.turn()
        await trio.sleep(0.1)
        assert node.asked == [("10.1.0.2", 9000)]
        assert node.said == ["no report to 10.1.0.2 port 9000: this publisher may connect nowhere"]

        far, near = trio.testing.memory_stream_pair()
        node.streams.append(near)
        module.process_batch(packets("10.4.0.2", 1))
        node.turn()
        await trio.sleep(2.0)
        hello, line = (await far.receive_some()).splitlines()
        assert read_hello(hello).token == "t0k3n"
        report = Reports().take(line)
        assert report is not None
        assert [(one.source, one.ttl, one.packets) for one in report.flows] == [("10.4.0.2", 61, 6)]

        await far.aclose()
        module.process_batch(packets("10.4.0.2", 2))
        node.turn()
        await trio.sleep(0.1)
        far, near = trio.testing.memory_stream_pair()
        node.streams.append(near)
        await trio.sleep(5.0)
        report = Reports().take((await far.receive_some()).splitlines()[1])
        assert report is not None
        assert [one.packets for one in report.flows] == [2]

        module.process_batch(packets("10.4.0.2", 3))
        await module.stop()
        report = Reports().take(await far.receive_some())
        assert report is not None
        assert [one.packets for one in report.flows] == [3]
        await far.aclose()
        begun = trio.current_time()
        await module.stop()
        assert trio.current_time() - begun == pytest.approx(LAST_S), "nobody takes it"
        node.nursery.cancel_scope.cancel()


def test_the_sources_can_be_built() -> None:
    check_sources(app_files("net-monitor"))
