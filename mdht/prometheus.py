"""A host's state as Prometheus reads it: text exposition format 0.0.4."""

from collections.abc import Callable, Iterator
from typing import Final

from mdht.results import Status
from mdht.subnet.effects import LinkMode

MODES: Final = (*[mode.value for mode in LinkMode], "no link")
_NUMBERS: Final[tuple[tuple[str, str, str, Callable[[Status], float]], ...]] = (
    ("uptime_seconds", "gauge", "Since the program was started.", lambda status: round(status.uptime_s, 3)),
    ("joined", "gauge", "Whether this host answers for its subnet.", lambda status: int(status.phase == "joined")),
    (
        "client",
        "gauge",
        "Whether the subnet only asks, as none of its hosts is reached.",
        lambda status: int(status.role == "client"),
    ),
    (
        "port_mapped",
        "gauge",
        "Whether the router forwards a port to this host, which has asked for it.",
        lambda status: int(status.mapped_port is not None and bool(status.mapped_port.outside)),
    ),
    ("members", "gauge", "Other hosts of the subnet.", lambda status: len(status.members)),
    ("emulated_members", "gauge", "Of them those to or from which multicast does not pass.", lambda s: s.emulated),
    ("members_without_copies", "gauge", "Of those the ones left out, as there are many.", lambda s: s.without_copies),
    ("nodes", "gauge", "Other nodes, that is subnets, known.", lambda status: status.contacts),
    ("records", "gauge", "Records that this host holds.", lambda status: status.records),
    ("record_bytes", "gauge", "Names and values of them.", lambda status: status.record_bytes),
    ("cached_keys", "gauge", "Keys of other nodes that this host has cached.", lambda status: status.cached),
    ("cached_bytes", "gauge", "Their records, as they travel.", lambda status: status.cached_bytes),
    ("structural_changes_total", "counter", "Found by this host in the overlay.", lambda s: s.structural_changes),
)


def exposition(status: Status) -> str:
    """The lines, each metric with its help and type; a host of several links has each number once for each of them."""
    hosts = [(_labels(each), each) for each in (status, *status.others)]
    lines: list[str] = []
    for name, kind, text, number in _NUMBERS:
        lines += head(f"mdht_{name}", kind, text)
        lines += [f"mdht_{name}{{{labels}}} {number(each)}" for labels, each in hosts]
    lines += head("mdht_link_mode", "gauge", "How what is for all gets to the other hosts.")
    for labels, each in hosts:
        lines += [f'mdht_link_mode{{{labels},mode="{mode}"}} {int(each.link_mode == mode)}' for mode in MODES]
    lines += head("mdht_lookup_seconds", "histogram", "Lookups among the hosts of the subnet.")
    for labels, each in hosts:
        lines += _lookups(labels, each)
    lines += head("mdht_events_total", "counter", "What was counted, by name.")
    for labels, each in hosts:
        counters = sorted(each.counters.items())
        lines += [f'mdht_events_total{{{labels},event="{escaped(event)}"}} {count}' for event, count in counters]
    return "\n".join(lines) + "\n"


def head(name: str, kind: str, text: str) -> tuple[str, str]:
    """What stands before the samples of a metric."""
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _lookups(labels: str, status: Status) -> Iterator[str]:
    name = "mdht_lookup_seconds"
    for bound, count in status.lookups.items():
        yield f'{name}_bucket{{{labels},le="{"+Inf" if bound == "inf" else bound}"}} {count}'
    yield f"{name}_sum{{{labels}}} {round(status.lookups_s, 6)}"
    yield f"{name}_count{{{labels}}} {status.lookups['inf']}"


def _labels(status: Status) -> str:
    return f'network="{escaped(status.network)}",host="{status.host}",subnet="{status.subnet}"'


def escaped(text: str) -> str:
    """A text as the value of a label."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
