import contextlib

import pytest

from mdht.subnet.query import STEPS, Phase, Query
from tests.mdht.subnet.resolve_network import (
    KEY,
)


def test_a_lookup_takes_only_the_steps_of_the_table() -> None:
    for phase in Phase:
        for to in Phase:
            query = Query(b"queryqid", KEY, 0.0, latest=False, hops=0, end_at=1.0)
            query.phase = phase
            allowed = to in STEPS[phase]
            with contextlib.nullcontext() if allowed else pytest.raises(AssertionError):
                query.enter(to, 2.0)
            assert query.phase is (to if allowed else phase)
