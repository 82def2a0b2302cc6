"""`make demo-netserv`: keep-alives of user agents stop reaching their SIP server, though they are answered; and return.

Nothing is played: Kamailio is the server, sipp the user agents, and between them are a plain router and two NetServ
nodes. Status 0 means that every keep-alive was answered with the server's address, and that none came to Kamailio while
the module was installed.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from netserv.forwarding.base import PLANE_NAMES
from tools.demo import Terminal
from tools.netlab import Host, Lab, LabError
from tools.netlab_chain import chain
from tools.netlab_netserv import Publisher, start_nodes
from tools.netlab_sip import PORT, Kamailio, Sipp

MODULE: Final = "NetServ.apps.KeepAlive_1.0.0"
BUNDLE: Final = "keep-alive.zip"
COUNT: Final = 10_000
PER_SECOND: Final = 1_000
FEW: Final = 1_000
"Keep-alives before, and after."
WARM_S: Final = 0.5
"From SETUP until the module is active on all nodes, where the publisher has a container already."
PATIENCE_S: Final = 20.0


@dataclass
class Outcome:
    """What was counted."""

    faults: list[str] = field(default_factory=list)
    cold_s: float = 0.0
    warm_s: float = 0.0

    def expect(self, what: str, found: int, expected: int) -> None:
        """Note what is not as it should be."""
        if found != expected:
            self.faults.append(f"{what}: {found}, not {expected}")


class Answers:
    """Counts answers by their source, with two rules of the user agent's firewall.

    Args:
        agent: host of the user agents.
        server: address of the server.
    """

    def __init__(self, agent: Host, server: str) -> None:
        self._agent = agent
        for source in (["-s", server], []):
            agent.run("iptables", "-A", "INPUT", "-p", "udp", "--sport", str(PORT), *source, "-j", "ACCEPT")

    def counted(self) -> tuple[int, int]:
        """From the server's address, and from others."""
        listed = self._agent.run("iptables", "-L", "INPUT", "-n", "-v", "-x").stdout
        ours, others = re.findall(rf"^ *(\d+) .* spt:{PORT}\b", listed, re.MULTILINE)
        return int(ours), int(others)


class Scene:
    """Server, routers and user agent, with nodes that run while the context lasts.

    Args:
        terminal: what the audience sees.
        lab: where it is built.
        plane: of the nodes.
    """

    def __init__(self, terminal: Terminal, lab: Lab, plane: str) -> None:
        self.terminal, self.outcome = terminal, Outcome()
        terminal.step("server - plain router - NetServ node1 - NetServ node2 - user agent")
        self.server, plain, self.node1, self.node2, self.agent = chain(
            lab, "server", "plain", "node1", "node2", "agent"
        )
        self.publisher = Publisher(self.server)
        self.nodes = start_nodes((self.publisher,), self.node1, self.node2, plane=plane)
        self.kamailio = Kamailio(self.server)
        self._answers = Answers(self.agent, self.server.ipv4)
        self._turn = 0
        roles = {self.server: "Kamailio", plain: "", self.node1: "node", self.node2: "node", self.agent: "sipp"}
        for host, role in roles.items():
            terminal.show(host.name, f"{host.ipv4:<10} {role}".rstrip())
        for node in self.nodes:
            terminal.show("", next(line for line in node.process.log.splitlines() if " is ready" in line))
        self.publisher.run("module", "build", "--app", "keep-alive", "--key", "alice.pem", "--output", BUNDLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.process.stop()

    def play(self, *, count: int, few: int, per_second: int) -> None:
        """Send, deploy, send, remove, send, deploy, send."""
        self.send("before", few, per_second, reaches=True)
        self.terminal.step("the publisher deploys KeepAlive, which he has built and signed, toward the user agent")
        self.outcome.cold_s = self.deploy()
        self.send("while it is installed", count, per_second, reaches=False)
        self.terminal.step("REMOVE")
        self.publisher.remove(MODULE, self.agent)
        self.send("after it was removed", few, per_second, reaches=True)
        self.terminal.step("once more: the publisher's containers are still there")
        self.outcome.warm_s = self.deploy()
        self.send("while it is installed again", few, per_second, reaches=False)

    def deploy(self) -> float:
        """Deploy the module; how long it took."""
        words = ["--filter-proto", "udp", "--filter-port", str(PORT)]
        self._show(f"$ netserv deploy {BUNDLE} --toward {self.agent.ipv4} {' '.join(words)} ...")
        last = self.publisher.deploy(BUNDLE, self.agent, *words)[-1]
        for node in last["nodes"]:
            self._show(f"{node['node_id']} {node['address']}: {node['code']} {node['text']}")
        self.outcome.expect("nodes on which it is active", sum(node["code"] == 200 for node in last["nodes"]), 2)
        elapsed_s = float(last["elapsed_s"])
        self._show(f"{elapsed_s * 1000:.0f} ms from SETUP until it is active on both")
        return elapsed_s

    def send(self, when: str, count: int, per_second: int, *, reaches: bool) -> None:
        """Send keep-alives, and compare what all count with what should be."""
        self._turn += 1
        self.terminal.step(f"{when}: sipp sends {count:,} keep-alives, {per_second:,} a second")
        came, before = self.kamailio.received(), self._answers.counted()
        sipp = Sipp(self.agent, self.server.ipv4, count=count, per_second=per_second, name=f"sipp-{self._turn}")
        answered, failed = sipp.wait(count / per_second + PATIENCE_S)
        came = self.kamailio.received() - came
        ours, others = (now - then for now, then in zip(self._answers.counted(), before, strict=True))
        whose = f"{ours:,} answers from {self.server.ipv4}, {others:,} from elsewhere"
        self.terminal.show("sipp", f"{answered:,} answered, {failed:,} not; {whose}")
        self.terminal.show("Kamailio", f"{came:,} came here")
        for what, found, expected in (
            ("answered", answered, count),
            ("answers with the server's address", ours, count),
            ("answers from elsewhere", others, 0),
            ("came to Kamailio", came, count if reaches else 0),
        ):
            self.outcome.expect(f"{when}, {what}", found, expected)

    def _show(self, text: str) -> None:
        self.terminal.show(self.server.name, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_netserv", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plane", choices=("auto", *PLANE_NAMES), default="auto", help="of the nodes (auto)")
    parser.add_argument("--count", type=int, default=COUNT, help=f"keep-alives while it is installed ({COUNT})")
    parser.add_argument("--rate", type=int, default=PER_SECOND, help=f"of them a second ({PER_SECOND})")
    options = parser.parse_args(argv)
    terminal = Terminal()
    try:
        with Lab() as lab, Scene(terminal, lab, options.plane) as scene:
            scene.play(count=options.count, few=FEW, per_second=options.rate)
            outcome = scene.outcome
    except LabError as error:
        print(f"\nthe demonstration failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; nothing is left behind", file=sys.stderr)
        return 130
    if outcome.warm_s > WARM_S:
        outcome.faults.append(f"SETUP to active with a warm container took {outcome.warm_s:.3f} s")
    terminal.step("everything is taken down again\n")
    print("\n".join(f"FAULT: {fault}" for fault in outcome.faults) or "every keep-alive was answered as it should be")
    print(f"SETUP to active: {outcome.cold_s * 1000:.0f} ms with a new container on each node, "
          f"{outcome.warm_s * 1000:.0f} ms with a warm one (limit {WARM_S * 1000:.0f} ms)")  # fmt: skip
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
