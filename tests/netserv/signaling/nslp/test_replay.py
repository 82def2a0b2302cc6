import pytest

from netserv.signaling.gist.addresses import packed
from netserv.signaling.nslp.codes import Code, NslpError
from netserv.signaling.nslp.config import NslpConfig
from netserv.signaling.nslp.handling import Answer
from netserv.signaling.nslp.replay import SeenRequests, check_claims
from netserv.signaling.nslp.values import Flow
from tests.netserv.signaling.nslp.memory_path import ALICE, TO_RECEIVER, UNIX, probe, setup, trigger

CONFIG = NslpConfig()
THESIS = NslpConfig(thesis_mode=True)
EXPIRES = int(UNIX) + 60
OTHER_FLOW = Flow(packed("10.0.0.2"), TO_RECEIVER.destination)
DONE = Answer(code=202)


@pytest.mark.parametrize(
    ("changes", "config", "now", "code"),
    [
        ({}, CONFIG, UNIX, None),
        ({}, CONFIG, EXPIRES + 30, None),
        ({}, CONFIG, EXPIRES + 31, Code.GONE),
        ({}, THESIS, EXPIRES + 31, Code.GONE),
        ({"expires": EXPIRES + 3_600}, CONFIG, UNIX, Code.FORBIDDEN),
        ({"expires": EXPIRES + 3_600}, CONFIG, UNIX + 60, None),
        ({"flow": OTHER_FLOW}, CONFIG, UNIX, Code.FORBIDDEN),
        ({"flow": TO_RECEIVER.swapped()}, CONFIG, UNIX, Code.FORBIDDEN),
        ({"flow": OTHER_FLOW}, THESIS, UNIX, Code.FORBIDDEN),
        ({"nonce": None}, CONFIG, UNIX, Code.BAD_REQUEST),
        ({"expires": None}, CONFIG, UNIX, Code.BAD_REQUEST),
        ({"flow": None}, CONFIG, UNIX, Code.BAD_REQUEST),
        ({"nonce": None}, THESIS, UNIX, None),
        ({"nonce": None, "expires": None, "flow": None}, THESIS, UNIX, None),
    ],
)
def test_a_request_is_for_one_path_and_time(
    changes: dict[str, object], config: NslpConfig, now: float, code: Code | None
) -> None:
    if code is None:
        check_claims(setup(**changes), TO_RECEIVER, now, config)
        return
    with pytest.raises(NslpError) as caught:
        check_claims(setup(**changes), TO_RECEIVER, now, config)
    assert caught.value.code is code


def test_a_trigger_has_the_claims_of_what_it_holds() -> None:
    check_claims(trigger(probe(expires=1)), TO_RECEIVER, UNIX, CONFIG)


def test_a_request_that_comes_again_gets_the_same_answer() -> None:
    seen = SeenRequests(CONFIG)
    assert seen.look(b"key", b"nonce", b"what", UNIX) is None
    seen.remember(b"key", b"nonce", b"what", EXPIRES, DONE)
    assert seen.look(b"key", b"nonce", b"what", UNIX) is DONE
    assert seen.look(b"other key", b"nonce", b"what", UNIX) is None
    with pytest.raises(NslpError, match="another request had that nonce") as caught:
        seen.look(b"key", b"nonce", b"something else", UNIX)
    assert caught.value.code is Code.FORBIDDEN


def test_a_nonce_is_kept_for_as_long_as_its_request_is_taken() -> None:
    seen = SeenRequests(CONFIG)
    seen.remember(b"key", b"nonce", b"what", EXPIRES, DONE)
    check_claims(probe(expires=EXPIRES), TO_RECEIVER, EXPIRES + CONFIG.clock_skew_s, CONFIG)
    assert seen.look(b"key", b"nonce", b"what", EXPIRES + CONFIG.clock_skew_s) is DONE
    assert seen.look(b"key", b"nonce", b"what", EXPIRES + CONFIG.clock_skew_s + 0.1) is None
    assert len(seen) == 0


def test_one_publisher_does_not_shut_out_the_others() -> None:
    seen = SeenRequests(NslpConfig(seen_max=10, seen_of_publisher_max=4))
    for number in range(4):
        assert seen.look(b"loud", bytes([number]), b"", UNIX) is None
        seen.remember(b"loud", bytes([number]), b"", EXPIRES, DONE)
    with pytest.raises(NslpError, match="of this publisher") as caught:
        seen.look(b"loud", b"4", b"", UNIX)
    assert caught.value.code is Code.TOO_MANY
    assert seen.look(b"quiet", b"0", b"", UNIX) is None
    assert seen.look(b"loud", b"4", b"", EXPIRES + 31) is None


def test_a_full_table_refuses_new_ones_and_forgets_none() -> None:
    seen = SeenRequests(NslpConfig(seen_max=3))
    for number in range(3):
        seen.remember(bytes([number]), b"", b"", EXPIRES, DONE)
    with pytest.raises(NslpError, match="too many requests are remembered"):
        seen.look(b"9", b"", b"", UNIX)
    assert seen.look(b"\0", b"", b"", UNIX) is DONE
    assert ALICE.public_key  # the key of the tests' requests
