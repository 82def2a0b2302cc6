import pytest

from netserv.errors import LocalProtocolError
from netserv.modules.blocks.metrics import Metrics


def test_counters_and_gauges_have_their_values() -> None:
    metrics = Metrics()
    seen = metrics.counter("seen")
    seen.add()
    metrics.counter("seen").add(2)
    metrics.gauge("level").set(-1.5)
    metrics.ask("size", lambda: 3)
    metrics.ask("broken", lambda: 1 / 0)
    assert metrics.values() == {"seen": 3, "level": -1.5, "size": 3.0}


def test_names_are_plain_and_few() -> None:
    metrics = Metrics()
    for name in ("", "Seen", "a b", "a" * 65, "1a", 'a{x="y"}'):
        with pytest.raises(LocalProtocolError, match="a-z, 0-9 and _"):
            metrics.counter(name)
    metrics.counter("seen")
    with pytest.raises(LocalProtocolError, match="of another kind"):
        metrics.gauge("seen")
    for number in range(63):
        metrics.counter(f"n{number}")
    with pytest.raises(LocalProtocolError, match="more than 64 names"):
        metrics.ask("more", lambda: 0)
