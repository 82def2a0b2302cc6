import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv_discovery.errors import LocalProtocolError, RemoteProtocolError
from netserv_discovery.ping import (
    PING_BYTES,
    Cookie,
    Measured,
    Outcome,
    Ping,
    Pinger,
    PingerConfig,
    Responder,
    ResponderConfig,
    Send,
    Target,
    decode,
    encode,
    pong,
)
from tests.netserv_discovery.strategies import KEY, OTHER_KEY

NODE, ASKER = ("198.51.100.7", 4_270), ("192.0.2.9", 5_000)
TARGET = Target(KEY.public_key, NODE)
nonces = st.binary(min_size=16, max_size=16)
cookies = st.binary(min_size=8, max_size=8)


@given(st.builds(Ping, nonces, cookies) | st.builds(Cookie, nonces, cookies) | nonces.map(lambda n: pong(n, KEY, 3)))
def test_what_is_said_comes_back_as_it_went(packet):
    assert decode(encode(packet)) == packet
    assert len(encode(packet)) <= PING_BYTES


@given(st.binary(max_size=140) | st.binary(max_size=140).map(lambda rest: b"NSpg\x01" + rest))
def test_any_bytes_are_a_packet_or_refused(data):
    try:
        packet = decode(data)
    except RemoteProtocolError:
        return
    assert encode(packet) == data


@given(st.binary(max_size=200) | st.binary(max_size=122).map(lambda rest: (b"NSpg\x01\x01" + rest).ljust(128, b"\0")))
def test_no_answer_is_longer_than_what_it_answers(data):
    answer = Responder(KEY, Random(1), 0.0).receive(data, ASKER, 0.0)
    assert answer is None or len(answer) <= len(data)


def exchange(pinger, responder, effects, now, rtt_s=0.02, source=NODE):
    """Carry datagrams to and fro until it is known."""
    for _ in range(10):
        (effect,) = effects
        if isinstance(effect, Measured):
            return effect, now
        answer = responder.receive(effect.data, ASKER, now + rtt_s / 2)
        if answer is None:
            return None, now
        now += rtt_s
        effects = pinger.receive(answer, source, now)
    raise AssertionError("it never ends")


def test_a_node_is_asked_twice_the_first_time_and_once_after_that():
    pinger, responder = Pinger(Random(2), 0.0), Responder(KEY, Random(1), 0.0)
    responder.load = 4
    measured, now = exchange(pinger, responder, pinger.ask(TARGET, 5.0), 5.0)
    assert measured == Measured(target=TARGET, outcome=Outcome.ANSWERED, rtt_s=pytest.approx(0.02), load=4)
    assert now == pytest.approx(5.04)
    _, now = exchange(pinger, responder, pinger.ask(TARGET, 6.0), 6.0)
    assert now == pytest.approx(6.02)
    assert responder.counters == {"cookies": 1, "pongs": 2}
    assert pinger.next_deadline() == math.inf


def test_who_is_not_at_his_address_gets_no_signature():
    responder = Responder(KEY, Random(1), 0.0)
    asked = encode(Ping(bytes(16)))
    cookie = decode(responder.receive(asked, ASKER, 0.0))
    assert isinstance(cookie, Cookie)
    shown = encode(Ping(bytes(16), cookie.cookie))
    assert isinstance(decode(responder.receive(shown, ("192.0.2.10", 5_000), 0.0)), Cookie)
    assert decode(responder.receive(shown, ASKER, 0.0)).signed


def test_a_cookie_ends():
    responder = Responder(KEY, Random(1), 0.0, ResponderConfig(cookie_rotation_s=10.0))
    shown = encode(Ping(bytes(16), decode(responder.receive(encode(Ping(bytes(16))), ASKER, 0.0)).cookie))
    assert not isinstance(decode(responder.receive(shown, ASKER, 15.0)), Cookie)
    assert isinstance(decode(responder.receive(shown, ASKER, 30.0)), Cookie)


def test_signatures_are_rationed_by_network():
    responder = Responder(KEY, Random(1), 0.0, ResponderConfig(pongs_per_s=1.0, pongs_burst=3.0))
    answers = []
    for host in range(10):
        source = (f"192.0.2.{host}", 5_000)
        cookie = decode(responder.receive(encode(Ping(bytes(16))), source, 0.0)).cookie
        answers.append(responder.receive(encode(Ping(bytes(16), cookie)), source, 0.0))
    assert sum(answer is not None for answer in answers) == 3
    assert responder.counters["over_rate"] == 7


def test_what_is_no_ping_is_counted_and_not_answered():
    responder = Responder(KEY, Random(1), 0.0)
    assert responder.receive(b"GET / HTTP/1.1", ASKER, 0.0) is None
    assert responder.receive(encode(pong(bytes(16), KEY, 0)), ASKER, 0.0) is None
    assert responder.counters == {"refused_malformed": 1, "refused_unasked": 1}


def test_who_answers_with_another_key_is_somebody_else():
    pinger, responder = Pinger(Random(2), 0.0), Responder(OTHER_KEY, Random(1), 0.0)
    measured, _ = exchange(pinger, responder, pinger.ask(TARGET, 0.0), 0.0)
    assert measured.outcome is Outcome.WRONG_KEY


def test_who_does_not_answer_is_asked_again_and_then_silent():
    pinger = Pinger(Random(2), 0.0, PingerConfig(again_s=0.4, timeout_s=1.0))
    (first,) = pinger.ask(TARGET, 0.0)
    assert pinger.next_deadline() == pytest.approx(0.4)
    assert pinger.tick(0.3) == []
    (second,) = pinger.tick(0.4)
    assert isinstance(second, Send)
    assert first.data != second.data, "another nonce, so that an answer tells which it is for"
    pinger.tick(0.8)
    assert pinger.tick(1.0) == [Measured(target=TARGET, outcome=Outcome.SILENT)]
    assert pinger.next_deadline() == math.inf
    assert pinger.counters == {"silent": 1}


@pytest.mark.parametrize(
    "forge",
    [
        lambda nonce: encode(pong(bytes(16), KEY, 0)),  # another nonce: one of before
        lambda nonce: encode(pong(nonce, KEY, 0))[:-1] + b"\0",  # not signed
        lambda nonce: encode(Ping(nonce)),
        lambda nonce: b"",
    ],
)
def test_what_was_not_asked_for_changes_nothing(forge):
    pinger = Pinger(Random(2), 0.0)
    (send,) = pinger.ask(TARGET, 0.0)
    nonce = decode(send.data).nonce
    assert pinger.receive(forge(nonce), NODE, 0.1) == []
    assert pinger.receive(encode(pong(nonce, KEY, 0)), ("198.51.100.8", 4_270), 0.1) == [], "from elsewhere"
    (measured,) = pinger.receive(encode(pong(nonce, KEY, 0)), NODE, 0.1)
    assert measured.outcome is Outcome.ANSWERED
    assert pinger.receive(encode(pong(nonce, KEY, 0)), NODE, 0.2) == [], "known already"


def test_cookies_without_end_end():
    pinger = Pinger(Random(2), 0.0, PingerConfig(sends_max=4))
    (effect,) = pinger.ask(TARGET, 0.0)
    sends = 1
    while effect is not None:
        effects = pinger.receive(encode(Cookie(decode(effect.data).nonce, b"12345678")), NODE, 0.01)
        effect = effects[0] if effects else None
        sends += effect is not None
    assert sends == 4
    assert pinger.tick(1.0) == [Measured(target=TARGET, outcome=Outcome.SILENT)]


def test_so_many_are_asked_at_a_time():
    pinger = Pinger(Random(2), 0.0, PingerConfig(asked_max=2))
    pinger.ask(TARGET, 0.0)
    with pytest.raises(LocalProtocolError):
        pinger.ask(TARGET, 0.0)
    pinger.ask(Target(OTHER_KEY.public_key, NODE), 0.0)
    with pytest.raises(LocalProtocolError):
        pinger.ask(Target(bytes(32), NODE), 0.0)
