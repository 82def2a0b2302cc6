import base64
import hashlib
import re

from netserv.publisher.deploying import NodeResult
from netserv.publisher.net_monitor.monitoring import SILENT_S, Monitor, monitor_page
from netserv.publisher.net_monitor.reports import Counted, Report
from netserv.signaling.gist.addresses import packed
from netserv.signaling.nslp.responses import StackEntry
from netserv_discovery.console.picture import Picture

REPORT = Report((Counted("10.4.0.2", "10.1.0.2", 61, 5),), 0)


def result(node: str, address: str, code: int = 200, text: str = "active") -> NodeResult:
    return NodeResult(node_id=node, address=address, hops=0, code=code, text=text)


def hops(monitor: Monitor, now: float) -> list[tuple[str, str, int]]:
    shown = monitor.view(now).items["hops"].values()
    return [(hop.node, hop.state, hop.packets) for hop in shown]  # type: ignore[attr-defined]


def test_a_report_is_of_the_node_that_has_the_address_it_comes_from() -> None:
    monitor = Monitor("10.4.0.2", 0.0)
    monitor.told([result("node1", "10.2.0.2"), result("node2", "10.3.0.2", 403, "not your traffic")])
    entry = StackEntry(
        node_id="node1", address=packed("10.2.0.2"), hops=0, code=200, text="ok",
        lines=(("addresses", "eth0 10.2.0.2,eth1 10.3.0.1,eth1 2001:db8:3::1,odd"),),
    )  # fmt: skip
    monitor.know([entry])
    assert hops(monitor, 1.0) == [("node1", "active", 0), ("node2", "403 not your traffic", 0)]
    monitor._came("10.3.0.1", True)
    monitor._reported("10.3.0.1", REPORT, 1.0)
    assert hops(monitor, 2.0)[0] == ("node1", "counting", 5)
    monitor._came("10.3.0.1", False)
    assert hops(monitor, SILENT_S + 1.0)[0][1].startswith("no report comes: does its operator")
    assert monitor.view(3.0).why == "the module runs on 1 of 2 nodes, and 0 report"


def test_the_page_is_told_what_changes() -> None:
    monitor, picture = Monitor("10.4.0.2", 0.0), Picture()
    monitor.told([result("node1", "10.2.0.2")])
    monitor._came("10.2.0.2", True)
    assert picture.update("net-monitor", "", monitor.view(1.0)) is not None
    assert picture.update("net-monitor", "", monitor.view(2.0)) is None
    monitor._reported("10.2.0.2", REPORT, 1.0)
    change = picture.update("net-monitor", "", monitor.view(3.0))
    assert change is not None
    assert set(change.set) == {"hops", "flows"}


def test_the_page_runs_and_loads_only_what_it_came_with() -> None:
    page = monitor_page()
    html = page.html.decode()
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.policy
    assert "innerHTML" not in html
    assert not re.findall(r'(?:src|href)="(?!#|data:|/state)', html)
