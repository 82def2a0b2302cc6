"""Hosts that run `mdht run`, and what they say of each other."""

from collections.abc import Sequence
from typing import Any, Final

from tests.end_to_end.sites import PATIENCE_S, json_lines
from tools.netlab import Host, Process, wait_until

DETECTION_S: Final = 4.5
"2.5 heartbeats and 2 s (mDHT design, section 3)."
SLACK_S: Final = 0.5
"For a machine that does other things too."


class Member:
    """A host that runs `mdht run`, and what it has printed."""

    def __init__(self, host: Host, process: Process) -> None:
        self.host, self.process = host, process

    @property
    def lines(self) -> list[dict[str, Any]]:
        # The last line may be half written.
        return json_lines(self.process.log.rpartition("\n")[0])

    def event(self, name: str) -> dict[str, Any]:
        return next(line for line in self.lines if line["event"] == name)

    @property
    def hid(self) -> str:
        return str(self.event("joins")["hid"])

    @property
    def states(self) -> dict[str, str]:
        """What it last said of every other host."""
        return {line["hid"]: line["state"] for line in self.lines if line["event"] == "member"}

    @property
    def subnets(self) -> list[str]:
        """Those that it was in, one after the other."""
        return [line["subnet"] for line in self.lines if line["event"] == "settled"]

    def saw(self, hid: str, state: str) -> float:
        """When it last said that a host is in a state."""
        return max(
            line["at"]
            for line in self.lines
            if (line["event"], line.get("hid"), line.get("state")) == ("member", hid, state)
        )

    def counters(self) -> dict[str, int]:
        """Stop it; what it has counted."""
        assert self.process.stop() == 0
        counters: dict[str, int] = self.event("ended")["counters"]
        return counters


def join(*hosts: Host, arguments: Sequence[str] = ()) -> list[Member]:
    """Let hosts become members."""
    words = [Host.program("mdht"), "run", "--json", *arguments]
    members = [Member(host, host.popen(*words)) for host in hosts]
    for member in members:
        wait_until(lambda: member.lines, PATIENCE_S, "first line", lambda: member.process.log)  # noqa: B023
    return members


def wait_ready(members: list[Member]) -> None:
    """Wait until each says that all others are ready."""
    hids = {member.hid for member in members}

    def look() -> bool:
        return all(
            {hid for hid, state in member.states.items() if state == "ready"} == hids - {member.hid}
            for member in members
        )

    wait_until(look, PATIENCE_S, "view of all", lambda: "\n".join(member.process.log for member in members))


def wait_state(members: list[Member], hid: str, state: str) -> float:
    """Wait until all say that a host is in a state; when the last one did."""
    wait_until(
        lambda: all(member.states.get(hid) == state for member in members),
        PATIENCE_S,
        f"{state} of {hid}",
        lambda: "\n".join(member.process.log for member in members),
    )
    return max(member.saw(hid, state) for member in members)
