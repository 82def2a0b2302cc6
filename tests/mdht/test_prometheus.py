import re
from itertools import groupby

import msgspec
import pytest

from mdht.prometheus import exposition
from mdht.results import MappedPort, Status

STATUS = Status(
    node="0" * 40,
    subnet="ab" * 8,
    host="cd" * 8,
    writer="0" * 64,
    network='the "lab"\\',
    interfaces=("eth0",),
    phase="joined",
    addresses=("192.0.2.1:27183",),
    uptime_s=12.34567,
    members=("192.0.2.2:27183", "192.0.2.3:27183"),
    link_mode="partly emulated",
    emulated=1,
    without_copies=0,
    merges=1,
    role="client",
    why="nobody is let in",
    contacts=4,
    neighbours=(),
    structural_changes=1,
    policy="full",
    policy_adopted=False,
    records=7,
    record_bytes=700,
    lookups={"0.005": 2, "0.05": 3, "inf": 4},
    lookups_s=0.25,
    cached=2,
    cached_bytes=300,
    counters={"sent": 9, "stored": 3},
)
SAMPLE = re.compile(r'mdht_[a-z_]+\{([a-z]+="(\\.|[^"\\])*",?)+\} [0-9.]+')


TWO_LINKS = msgspec.structs.replace(STATUS, others=(msgspec.structs.replace(STATUS, host="ef" * 8, records=70),))


@pytest.mark.parametrize("status", [STATUS, TWO_LINKS])
def test_every_line_is_help_type_or_a_sample_and_each_metric_is_announced_once(status: Status) -> None:
    lines = exposition(status).splitlines()
    announced = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    samples = [line for line in lines if not line.startswith("#")]
    assert len(announced) == len(set(announced))
    assert len(samples) == len(set(samples))
    blocks = [
        name for name, _lines in groupby(re.sub("_(bucket|sum|count)$", "", line.split("{")[0]) for line in samples)
    ]
    assert blocks == announced, "all samples of a metric stand together"
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    parts = ("_bucket", "_sum", "_count")
    histogram = {f"mdht_lookup_seconds{part}" for part in parts}
    assert {line.partition("{")[0] for line in samples} == set(announced) - {"mdht_lookup_seconds"} | histogram


def test_the_numbers_are_those_of_the_status() -> None:
    text = exposition(STATUS)
    labels = 'network="the \\"lab\\"\\\\",host="cdcdcdcdcdcdcdcd",subnet="abababababababab"'
    for line in (
        f"mdht_members{{{labels}}} 2",
        f"mdht_emulated_members{{{labels}}} 1",
        f'mdht_link_mode{{{labels},mode="partly emulated"}} 1',
        f'mdht_link_mode{{{labels},mode="multicast"}} 0',
        f"mdht_nodes{{{labels}}} 4",
        f"mdht_cached_keys{{{labels}}} 2",
        f"mdht_cached_bytes{{{labels}}} 300",
        f"mdht_uptime_seconds{{{labels}}} 12.346",
        f'mdht_lookup_seconds_bucket{{{labels},le="0.05"}} 3',
        f'mdht_lookup_seconds_bucket{{{labels},le="+Inf"}} 4',
        f"mdht_lookup_seconds_sum{{{labels}}} 0.25",
        f"mdht_lookup_seconds_count{{{labels}}} 4",
        f'mdht_events_total{{{labels},event="stored"}} 3',
    ):
        assert f"\n{line}\n" in text


def test_a_host_of_two_links_has_each_number_for_both() -> None:
    lines = exposition(TWO_LINKS).splitlines()
    records = [line for line in lines if line.startswith("mdht_records{")]
    assert [line.split()[-1] for line in records] == ["7", "70"]
    assert ["cd" * 8 in records[0], "ef" * 8 in records[1]] == [True, True]


def test_a_port_that_the_router_forwards_is_a_number_too() -> None:
    for port, number in (
        (None, 0),
        (MappedPort(gateway="192.168.1.1", why="it refuses"), 0),
        (MappedPort(gateway="192.168.1.1", protocol="PCP", outside="11.0.3.2:27183", expires_in_s=9.0), 1),
    ):
        text = exposition(msgspec.structs.replace(STATUS, mapped_port=port))
        assert re.search(rf"^mdht_port_mapped\{{.*\}} {number}$", text, re.MULTILINE)
