import dataclasses

import pytest

from tools.demo import INSTANCE, LIMIT_S, PORT, TXT, Outcome
from tools.netlab import BrowsedService

SERVICE = BrowsedService(
    interface="eth0",
    protocol="IPv4",
    instance=INSTANCE,
    type="_daap._tcp",
    domain="local",
    host="z2z-198-51-100-2-site.local",
    address="198.51.100.2",
    port=PORT,
    txt=" ".join('"' + "".join(f"\\{byte:03d}" for byte in text) + '"' for text in reversed(TXT)),
)
OUTCOME = Outcome(printed="", services=[SERVICE], addresses=("198.51.100.2",), visible_s=1.0, gone_s=LIMIT_S)


def test_what_arrives_unchanged_and_in_time_is_without_fault() -> None:
    assert OUTCOME.faults() == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instance": "Tom's Music #2"}, "Tom's Music #2"),
        ({"port": 3690}, "port 3690"),
        ({"txt": '"txtvers=1"'}, "TXT"),
        ({"address": "203.0.113.2"}, "address 203.0.113.2"),
    ],
)
def test_each_difference_is_a_fault(change: dict[str, object], said: str) -> None:
    changed = dataclasses.replace(OUTCOME, services=[SERVICE, dataclasses.replace(SERVICE, **change)])
    (fault,) = changed.faults()
    assert said in fault


def test_nothing_seen_and_too_late_are_faults() -> None:
    late = dataclasses.replace(OUTCOME, services=[], visible_s=LIMIT_S + 0.1, gone_s=LIMIT_S + 0.2)
    assert [fault.split()[0] for fault in late.faults()] == ["avahi-browse", "publish", "withdraw"]
