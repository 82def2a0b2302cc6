"""Lines about members, subnets and overlay, for people or for programs."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dhtboot.ids import format_address
from mdht.link_running import RunningHost
from mdht.results import MappedPort, Status
from mdht.subnet.effects import LinkModeChanged
from mdht.subnet.identity import Subnet
from mdht.subnet.messages import State
from mdht.subnet.view import Member


def headline(status: Status) -> str:
    """How a host stands, in one line for a service manager."""
    where = f"subnet {status.subnet}" if status.subnet else "no subnet yet"
    return (
        f"{status.phase}, {status.role} of network {status.network}, {where}; {len(status.members)} other hosts, "
        f"{status.contacts} other nodes, {status.records} records"
    )


class Lines:
    """Prints them.

    Args:
        network: name of the overlay.
        as_json: one JSON object per line, with the time.
        link: interfaces of the link that is spoken of, where there are several.
    """

    def __init__(self, network: str, *, as_json: bool, link: str = "") -> None:
        self._network = network
        self._as_json = as_json
        self._link = link

    def line(self, text: str, **fields: Any) -> None:
        """Print one line."""
        fields["at"] = round(time.time(), 4)
        if self._link:
            text = f"{self._link}: {text}"
            fields["link"] = self._link
        # Flushed, as readers in a pipeline wait for changes.
        print(msgspec.json.encode(fields).decode() if self._as_json else text, flush=True)

    def members(self, members: Iterable[Member], now: float) -> None:
        """Print some members."""
        for member in sorted(members, key=lambda each: each.hid):
            age_s = now - member.heard_at
            addresses = [format_address(address) for address in member.addresses]
            self.line(
                f"{member.hid.hex()}  {member.state.name.lower():<8} {member.incarnation:>11}  {age_s:>5.1f} s  "
                f"{', '.join(addresses)}",
                event="member",
                hid=member.hid.hex(),
                state=member.state.name.lower(),
                incarnation=member.incarnation,
                age_s=round(age_s, 3),
                addresses=addresses,
            )

    def joins(self, host: RunningHost, state_dir: Path) -> None:
        """Print who this host is."""
        core, addresses = host.core, [format_address(address) for address in host.addresses]
        self.line(
            f"host {core.hid.hex()} of network {self._network} at {', '.join(addresses)}; state in {state_dir}",
            event="joins",
            hid=core.hid.hex(),
            incarnation=core.incarnation,
            network=self._network,
            addresses=addresses,
            interfaces=host.interfaces,
        )

    def gone_over(self, hid: bytes) -> None:
        """Print that a host of this subnet is in another one of the link."""
        state = State.LEFT.name.lower()
        self.line(f"{hid.hex()}  {state:<8}  in another subnet", event="member", hid=hid.hex(), state=state)

    def head(self) -> None:
        """Print the head of the table."""
        if not self._as_json:
            print(f"{'host':<16}  {'state':<8} {'incarnation':>11}  {'heard':>7}  addresses", flush=True)

    def settled(self, subnet: Subnet | None, policy: str, *, adopted: bool) -> None:
        """Print which subnet this host is in from now on, and the policy in force if that is not its own choice."""
        if subnet is None:
            self.line("in no subnet", event="settled", subnet=None)
            return
        node_id = f"{subnet.identity.node_id(self._network):040x}"
        kind, tag = subnet.identity.kind.name.lower(), subnet.tag.hex()
        salted = bool(subnet.identity.salt)
        text = f"in subnet {tag}, node {node_id}{f', whose policy is {policy}' if adopted else ''}"
        self.line(
            text + (", as another subnet has its first identifier" if salted else ""),
            event="settled",
            subnet=tag,
            node=node_id,
            identity=kind,
            salted=salted,
            policy=policy,
            policy_adopted=adopted,
        )

    def link_mode(self, changed: LinkModeChanged) -> None:
        """Print how what is for all gets to the others from now on."""
        self.line(
            f"link mode: {changed.mode.value} ({changed.emulated} of {changed.members} members by unicast copies)",
            event="link_mode",
            mode=changed.mode.value,
            members=changed.members,
            emulated=changed.emulated,
            unheard=changed.unheard,
            deaf=changed.deaf,
            without_copies=changed.left_out,
        )

    def merged(self, gone: bytes, into: Subnet) -> None:
        """Print that two subnets of the link are one from now on."""
        text = f"two subnets of this link are one: {gone.hex()} has given way to {into.tag.hex()}"
        self.line(text, event="merged", gone=gone.hex(), subnet=into.tag.hex())

    def ended(self, counters: Mapping[str, int]) -> None:
        """Print what was counted."""
        text = ", ".join(f"{name} {count}" for name, count in counters.items())
        self.line(text, event="ended", counters=dict(counters))


class OverlayLines:
    """Prints how it stands with the overlay, whenever that has changed."""

    def __init__(self, lines: Lines, host: RunningHost) -> None:
        self._lines = lines
        self._host = host
        self._told: tuple[object, ...] = ()
        self._port: MappedPort | None = None

    def look(self) -> None:
        """Look, and print perhaps."""
        self._look_at_port()
        part, role, why = self._host.core.part, self._host.role, self._host.why
        if part is None:
            return
        neighbours = len(part.step.neighbours())
        ring, changes = part.step.ring_id.hex(), part.step.state.changes.made
        now = (part.stage.value, role, why, ring, neighbours, changes)
        if now == self._told:
            return
        self._told = now
        self._lines.line(
            f"overlay: {part.stage.value}{' as a client' if role == 'client' else ''}, ring {ring}, "
            f"{neighbours} neighbours, {changes} structural changes",
            event="overlay",
            stage=part.stage.value,
            role=role,
            why=why,
            ring=ring,
            neighbours=neighbours,
            structural_changes=changes,
        )

    def _look_at_port(self) -> None:
        if self._host.ports is None:
            return
        port = self._host.ports.status()
        lasting = msgspec.structs.replace(port, expires_in_s=0.0)  # a renewal is no news
        if lasting == self._port:
            return
        self._port = lasting
        self._lines.line(f"port: {port_text(port)}", event="mapped_port", **msgspec.to_builtins(port))


def port_text(port: MappedPort) -> str:
    """What came of asking the router for a port."""
    if not port.outside:
        return f"not opened: {port.why}"
    return f"{port.outside}, opened by router {port.gateway} by {port.protocol} for {port.expires_in_s:.0f} s"
