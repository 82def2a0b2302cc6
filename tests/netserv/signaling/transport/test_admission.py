"""The limits for floods in words; that they work is seen in a laboratory."""

import pytest

from netserv.errors import LocalProtocolError
from netserv.signaling.transport.admission import admitted
from netserv.signaling.transport.intercept import InterceptConfig
from netserv.signaling.transport.rules import nfqueue_rules, tproxy_rules


def test_any_source_is_let_through_up_to_a_limit_and_beyond_it_those_that_have_sent_before() -> None:
    any_source, known = admitted(4, InterceptConfig(newcomers_per_s=100, known_per_s=200), "x")
    assert any_source == "-m limit --limit 100/sec --limit-burst 100 "
    assert "--hashlimit-above 20/min --hashlimit-burst 1 " in known
    assert "--hashlimit-upto 150/sec" in known
    assert known.endswith("-m limit --limit 200/sec --limit-burst 200 ")


@pytest.mark.parametrize(("version", "bits"), [(4, 32), (6, 64)])
def test_a_source_of_ipv6_is_a_whole_network(version: int, bits: int) -> None:
    _, known = admitted(version, InterceptConfig(), "x")
    assert known.count(f"--hashlimit-srcmask {bits} ") == 2


def test_what_is_over_the_limits_is_dropped_and_only_what_would_have_been_caught() -> None:
    for family in (tproxy_rules(6, InterceptConfig(), 5000, pid=1), nfqueue_rules(6, InterceptConfig(), pid=1)):
        assert len(family.limited) == 6  # two tests of u32, each let through in two ways, or dropped
        assert all("--u32" in rule for rule in family.limited)
        assert [rule.endswith("-j DROP") for rule in family.limited] == [False, False, True] * 2
        assert [rule.split()[-1] for rule in family.guard] == ["RETURN", "RETURN", "DROP"]


def test_without_limits_there_are_the_plain_rules_only() -> None:
    family = tproxy_rules(4, InterceptConfig(newcomers_per_s=0), 5000, pid=1)
    assert (family.limited, family.guard) == ((), ())
    assert len(family.rules) == 1


@pytest.mark.parametrize("limits", [{"newcomers_per_s": -1}, {"newcomers_per_s": 10_001}, {"known_per_s": 0}])
def test_limits_are_what_the_kernel_knows(limits: dict[str, int]) -> None:
    with pytest.raises(LocalProtocolError, match="1 to 10000 packets a second"):
        InterceptConfig(**limits)
