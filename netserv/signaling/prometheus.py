"""A daemon's state as Prometheus reads it: text exposition format 0.0.4."""

from collections.abc import Callable
from typing import Final

from mdht.prometheus import escaped, head
from netserv.signaling.status import Status

_NUMBERS: Final[tuple[tuple[str, str, Callable[[Status], float]], ...]] = (
    ("uptime_seconds", "Since the daemon was started.", lambda status: round(status.uptime_s, 3)),
    ("catching", "Whether packets that pass are caught.", lambda status: int(status.catching != "none")),
    ("sessions", "Rows of routing state.", lambda status: status.sessions),
    ("peers", "Adjacent nodes with routing state.", lambda status: status.peers),
    ("associations", "Messaging associations.", lambda status: status.associations),
    ("asking", "Requests of this machine that wait for their answer.", lambda status: status.asking),
)


def exposition(status: Status) -> str:
    """The lines, each metric with its help and type."""
    node = f'node="{escaped(status.node_id)}"'
    lines: list[str] = []
    for name, text, number in _NUMBERS:
        lines += head(f"netserv_{name}", "gauge", text)
        lines.append(f"netserv_{name}{{{node}}} {number(status)}")
    lines += head("netserv_events_total", "counter", "What was counted, by part of the daemon and name.")
    for part, counters in sorted(status.counters.items()):
        for event, count in sorted(counters.items()):
            lines.append(f'netserv_events_total{{{node},part="{escaped(part)}",event="{escaped(event)}"}} {count}')
    return "\n".join(lines) + "\n"
