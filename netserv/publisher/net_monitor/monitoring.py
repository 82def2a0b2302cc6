"""Deploys NetMonitor along a path, gets what its modules count, and shows it on a page of this machine."""

import secrets
from collections.abc import Iterable, Sequence
from importlib import resources
from ipaddress import ip_address
from typing import Final

import trio

from netserv.publisher.deploying import NodeResult
from netserv.publisher.net_monitor.collecting import Collector
from netserv.publisher.net_monitor.reports import Report
from netserv.publisher.net_monitor.tally import Hop, Tally
from netserv.signaling.nslp.responses import StackEntry
from netserv_discovery.console.page import Page, load_page
from netserv_discovery.console.picture import View
from netserv_discovery.console.server import ConsoleServer

SHOW_S: Final = 1.0
"Between two looks of the page at what has come in."
SOURCE: Final = "net-monitor"
SILENT_S: Final = 5.0
"After which a node that runs the module and has not connected is asked about: its operator may not allow it."


def monitor_page() -> Page:
    """The page: style, tables and stream are those of the console of discovery."""
    return load_page(
        resources.files(__package__) / "page",
        html_name="monitor.html",
        styles=("console.css", "monitor.css"),
        scripts=("elements.js", "state.js", "monitor.js"),
    )


class Monitor:
    """What is known of nodes and flows.

    Args:
        toward: host that the path leads to.
        now: the time.
    """

    def __init__(self, toward: str, now: float) -> None:
        self.toward, self.token = toward, secrets.token_urlsafe(16)
        self.tally = Tally()
        self.collector = Collector(self.token, self._reported, self._came)
        self._begun = now
        self._results: tuple[NodeResult, ...] = ()
        self._names: dict[str, str] = {}
        "Of nodes, by any of their addresses."
        self._connected: dict[str, int] = {}
        "Connections by address."

    def told(self, results: Sequence[NodeResult]) -> None:
        """How things stand with the module on the nodes."""
        self._results = tuple(results)
        self._names |= {one.address: one.node_id for one in results}

    def know(self, entries: Iterable[StackEntry]) -> None:
        """Learn the addresses of nodes from what they say to a PROBE for `address`."""
        for entry in entries:
            for words in dict(entry.lines).get("addresses", "").split(","):
                address = words.split()[-1].partition("/")[0] if words.split() else ""
                try:
                    self._names[str(ip_address(address))] = entry.node_id
                except ValueError:
                    continue

    def view(self, now: float) -> View:
        """All that the page shows."""
        flows = {f"{flow.source} {flow.destination}": flow for flow in self.tally.flows()}
        hops = {hop.node: hop for hop in self._hops(now)}
        active = sum(one.is_active for one in self._results)
        why = f"the module runs on {active} of {len(self._results)} nodes, and {len(self._connected)} report"
        return View(items={"hops": hops, "flows": flows}, works=active > 0, why=why)

    def _hops(self, now: float) -> Iterable[Hop]:
        connected = {self._named(address) for address in self._connected}
        for position, result in enumerate(self._results, 1):
            packets, per_second = self.tally.counted_at(result.node_id)
            reports = result.node_id in connected
            yield Hop(
                position=position,
                node=result.node_id,
                address=result.address,
                state=_state(result, reports=reports, silent=now > self._begun + SILENT_S),
                reports=reports,
                packets=packets,
                per_second=per_second,
            )

    def _named(self, address: str) -> str:
        return self._names.get(address, address)

    def _reported(self, address: str, report: Report, interval_s: float) -> None:
        self.tally.add(self._named(address), report, interval_s)

    def _came(self, address: str, here: bool) -> None:
        count = self._connected.get(address, 0) + (1 if here else -1)
        if count > 0:
            self._connected[address] = count
        else:
            self._connected.pop(address, None)
            self.tally.left(self._named(address))


def _state(result: NodeResult, *, reports: bool, silent: bool) -> str:
    if not result.is_active:
        return f"{result.code} {result.text}"
    if reports:
        return "counting"
    return "no report comes: does its operator let modules connect here (connects)?" if silent else "active"


async def show(monitor: Monitor, server: ConsoleServer) -> None:
    """Keep the page up to date until cancelled."""
    while True:
        server.show(SOURCE, f"packets toward {monitor.toward}", monitor.view(trio.current_time()))
        await trio.sleep(SHOW_S)
