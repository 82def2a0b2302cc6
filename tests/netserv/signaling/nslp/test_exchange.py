import itertools

import pytest

from netserv.signaling.nslp.exchange import TRANSITIONS, Action, Exchange, Input, Stage
from netserv.signaling.nslp.handling import Arrival
from netserv.signaling.nslp.node import flow_mri
from tests.netserv.signaling.nslp.memory_path import RECEIVER, SENDER, TO_RECEIVER

IMPOSSIBLE = {(Stage.WAITING, Input.OUTCOME)} | {(Stage.FORGOTTEN, what) for what in Input}


@pytest.mark.parametrize(("stage", "what"), list(itertools.product(Stage, Input)))
def test_every_pair_is_in_the_table_but_for_those_that_cannot_be(stage: Stage, what: Input) -> None:
    assert ((stage, what) in TRANSITIONS) != ((stage, what) in IMPOSSIBLE)


def test_what_is_answered_stays_so_until_it_is_forgotten() -> None:
    after = {stage for (before, _), (stage, _) in TRANSITIONS.items() if before is Stage.ANSWERED}
    assert after == {Stage.ANSWERED, Stage.FORGOTTEN}


def test_an_exchange_is_answered_once() -> None:
    arrival = Arrival(flow=TO_RECEIVER, session=bytes(16))
    mri = flow_mri(SENDER, RECEIVER)
    answering = {Action.PASS_ON, Action.TURN, Action.TELL, Action.ALONE}
    for inputs in itertools.product(Input, repeat=4):
        exchange = Exchange((bytes(16), mri, b""), None, bytes(16), b"", arrival)
        done = [exchange.step(what) for what in inputs if (exchange.stage, what) in TRANSITIONS]
        assert sum(action in answering for action in done) <= 1
