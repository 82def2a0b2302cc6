"""A host's state as Prometheus reads it: text exposition format 0.0.4."""

from typing import Final

from mdht.results import Status
from mdht.subnet.effects import LinkMode

MODES: Final = (*[mode.value for mode in LinkMode], "no link")


def exposition(status: Status) -> str:
    """The lines, each metric with its help and type."""
    labels = f'network="{_escaped(status.network)}",host="{status.host}",subnet="{status.subnet}"'
    lines = []
    for name, kind, text, value in (
        ("uptime_seconds", "gauge", "Since the program was started.", round(status.uptime_s, 3)),
        ("joined", "gauge", "Whether this host answers for its subnet.", int(status.phase == "joined")),
        (
            "client",
            "gauge",
            "Whether the subnet only asks, as none of its hosts is reached.",
            int(status.role == "client"),
        ),
        ("members", "gauge", "Other hosts of the subnet.", len(status.members)),
        ("emulated_members", "gauge", "Of them those to or from which multicast does not pass.", status.emulated),
        ("members_without_copies", "gauge", "Of those the ones left out, as there are many.", status.without_copies),
        ("nodes", "gauge", "Other nodes, that is subnets, known.", status.contacts),
        ("records", "gauge", "Records that this host holds.", status.records),
        ("record_bytes", "gauge", "Names and values of them.", status.record_bytes),
        ("cached_keys", "gauge", "Keys of other nodes that this host has cached.", status.cached),
        ("cached_bytes", "gauge", "Their records, as they travel.", status.cached_bytes),
        ("structural_changes_total", "counter", "Found by this host in the overlay.", status.structural_changes),
    ):
        lines += [f"# HELP mdht_{name} {text}", f"# TYPE mdht_{name} {kind}", f"mdht_{name}{{{labels}}} {value}"]
    lines += ["# HELP mdht_link_mode How what is for all gets to the other hosts.", "# TYPE mdht_link_mode gauge"]
    for mode in MODES:
        lines.append(f'mdht_link_mode{{{labels},mode="{mode}"}} {int(status.link_mode == mode)}')
    name = "mdht_lookup_seconds"
    lines += [f"# HELP {name} Lookups among the hosts of the subnet.", f"# TYPE {name} histogram"]
    for bound, count in status.lookups.items():
        lines.append(f'{name}_bucket{{{labels},le="{"+Inf" if bound == "inf" else bound}"}} {count}')
    lines += [f"{name}_sum{{{labels}}} {round(status.lookups_s, 6)}"]
    lines += [f"{name}_count{{{labels}}} {status.lookups['inf']}"]
    lines += ["# HELP mdht_events_total What was counted, by name.", "# TYPE mdht_events_total counter"]
    for event, count in sorted(status.counters.items()):
        lines.append(f'mdht_events_total{{{labels},event="{_escaped(event)}"}} {count}')
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
