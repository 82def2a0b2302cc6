"""What the fuzzer makes is as hostile as it says, and the codec refuses it by its one error."""

from random import Random

from netserv.signaling.gist.addresses import packed
from netserv.signaling.gist.errors import GistError
from netserv.signaling.gist.wire import MAGIC, decode
from netserv.signaling.nslp import requests, responses
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.text import padded
from tools.gist_mutations import any_datagram, golden, hostile_text

OWN, RECEIVER = packed("10.1.0.2"), packed("10.2.0.2")


def test_a_part_of_the_datagrams_is_in_order_and_the_rest_is_refused_in_many_ways() -> None:
    rng, known = Random(1), golden()
    good = 0
    faults = set()
    for _ in range(3_000):
        payload = any_datagram(rng, OWN, RECEIVER, known)
        if not payload.startswith(MAGIC):
            continue
        try:
            decode(payload[len(MAGIC) :])
            good += 1
        except GistError as error:
            faults.add((error.code, error.subcode))
    assert 300 < good < 2_000
    assert len(faults) >= 12


def test_the_texts_are_read_or_refused() -> None:
    rng = Random(1)
    read, refused = 0, set()
    for _ in range(1_000):
        data = padded(hostile_text(rng))
        decode_text = responses.decode if responses.is_response(data) else requests.decode
        try:
            decode_text(data)
            read += 1
        except NslpError as error:
            refused.add(str(error)[:20])
    assert 100 < read < 600
    assert len(refused) > 30


def test_the_same_seed_makes_the_same() -> None:
    known = golden()
    one, other = ([any_datagram(rng, OWN, RECEIVER, known) for _ in range(100)] for rng in (Random(7), Random(7)))
    assert one == other
