from random import Random

import pytest

from mdht.signing import SigningKey
from mdht.subnet import proofs as limits
from mdht.subnet.host_keys import host_name
from mdht.subnet.messages import Bye, Hello, Message, Nack, Ping, Pong
from mdht.subnet.proofs import Proofs, Verdict
from mdht.subnet.replay import AHEAD_MAX, SENDERS_MAX, WINDOW, ProvenWindows, Seen
from mdht.subnet.wire import Header, LinkCodec, Opened
from tests.mdht.subnet.link_messages import EXAMPLES

HOST, OTHER = SigningKey.from_seed(b"h" * 32), SigningKey.from_seed(b"o" * 32)
HID = host_name(HOST.public_key)
HERE, BYE, SUSPECT, NOTE = EXAMPLES[1], Bye(handed_over=True), EXAMPLES[3], Nack(qid=bytes(8), key=bytes(20))
HOME, ELSEWHERE = ("192.0.2.1", 4000), ("192.0.2.9", 4000)


def said(
    message: Message, seq: int, *, signer: SigningKey | None = HOST, hid: bytes = HID, incarnation: int = 3
) -> Opened:
    header = Header(subnet_tag=bytes(8), hid=hid, incarnation=incarnation, seq=seq)
    found = LinkCodec("test").open(LinkCodec("test", signer=signer).encode(header, message))
    assert found is not None
    return found


def forged(message: Message, seq: int, *, incarnation: int = 3) -> Opened:
    """With the key of the host, which all know, and a signature that is rubbish."""
    found = said(message, seq, incarnation=incarnation)
    assert found.proof is not None
    return Opened(found.header, found.message, type(found.proof)(HOST.public_key, bytes(64), found.proof.covered))


def known() -> Proofs:
    """Of somebody who has heard the host once, by number 100."""
    proofs = Proofs()
    assert proofs.judge(said(HERE, 100), HOME, 0.0) is Verdict.BELIEVED
    return proofs


@pytest.mark.parametrize(
    ("datagram", "verdict"),
    [
        (said(HERE, 101), Verdict.BELIEVED),
        (said(BYE, 101), Verdict.BELIEVED),
        (said(HERE, 100), Verdict.DUPLICATE),
        (said(HERE, 100 - WINDOW), Verdict.REPLAYED),
        (said(HERE, 5, incarnation=4), Verdict.BELIEVED),
        (said(HERE, 101, incarnation=2), Verdict.REPLAYED),
        (said(HERE, 101, signer=None), Verdict.UNSIGNED),
        (said(BYE, 101, signer=None), Verdict.UNSIGNED),
        (said(SUSPECT, 101, signer=None), Verdict.UNSIGNED),
        (said(Pong(nonce=bytes(8)), 101, signer=None), Verdict.UNSIGNED),
        (said(Hello(overlay_hash=bytes(20)), 101, signer=None), Verdict.UNSIGNED),
        (said(BYE, 101, signer=OTHER), Verdict.FORGED),
        (said(HERE, 5, signer=OTHER, incarnation=4), Verdict.FORGED),
        (forged(BYE, 101), Verdict.FORGED),
        (forged(HERE, 5, incarnation=9), Verdict.FORGED),
        (said(NOTE, 101, signer=None), Verdict.BELIEVED),
        (said(NOTE, 101), Verdict.BELIEVED),
        (said(NOTE, 101, signer=None, incarnation=2), Verdict.REPLAYED),
        (said(NOTE, 101, signer=None, incarnation=4), Verdict.UNPROVEN),
        (said(NOTE, 101 + AHEAD_MAX, signer=None), Verdict.UNPROVEN),
        (said(NOTE, 100 - WINDOW, signer=None), Verdict.REPLAYED),
        (said(NOTE, 101, signer=None, hid=b"stranger"), Verdict.UNPROVEN),
        (said(Ping(nonce=bytes(8)), 101, signer=None, hid=b"stranger"), Verdict.BELIEVED),
    ],
)
def test_what_is_said_in_the_name_of_a_host_that_was_heard(datagram: Opened, verdict: Verdict) -> None:
    assert known().judge(datagram, HOME, 1.0) is verdict


def test_whoever_makes_up_numbers_silences_nobody() -> None:
    """Unsigned or wrongly signed they neither begin a start nor move the window of what the host signs."""
    proofs = known()
    for seq in (101, 102, 150, 60_000, 0xFFFF_FFFF):
        for incarnation in (3, 4, 0xFFFF_FFFF):
            proofs.judge(said(NOTE, seq, signer=None, incarnation=incarnation), ELSEWHERE, 1.0)
            proofs.judge(said(Ping(nonce=bytes(8)), seq, signer=None, incarnation=incarnation), ELSEWHERE, 1.0)
            proofs.judge(forged(HERE, seq, incarnation=incarnation), ELSEWHERE, 1.0)
    assert proofs.judge(said(HERE, 101), HOME, 2.0) is Verdict.BELIEVED
    assert proofs.judge(said(NOTE, 103, signer=None), HOME, 2.0) is Verdict.BELIEVED
    assert proofs.judge(said(NOTE, 102, signer=None), HOME, 2.0) is Verdict.DUPLICATE, "that one place was taken"
    assert proofs.judge(said(HERE, 1, incarnation=4), HOME, 2.0) is Verdict.BELIEVED


def test_an_unsigned_datagram_comes_once() -> None:
    proofs, note = known(), said(NOTE, 101, signer=None)
    assert proofs.judge(note, HOME, 1.0) is Verdict.BELIEVED
    assert proofs.judge(note, HOME, 1.0) is Verdict.DUPLICATE
    proofs.judge(said(HERE, 200), HOME, 1.0)
    assert proofs.judge(note, HOME, 1.0) is Verdict.REPLAYED


def test_rubbish_from_one_source_costs_so_many_verifications_and_keeps_nobody_else_out() -> None:
    proofs = known()
    rng = Random(1)
    before = proofs.counters["signatures_verified"]
    verdicts = [proofs.judge(forged(HERE, rng.randrange(101, 1 << 32)), ELSEWHERE, i / 1_000) for i in range(4_000)]
    verified = proofs.counters["signatures_verified"] - before
    assert verified == verdicts.count(Verdict.FORGED)
    assert verified <= limits.SOURCE_BURST + 4 * limits.SOURCE_RATE_PER_S
    assert proofs.judge(said(HERE, 101), HOME, 10.0) is Verdict.BELIEVED
    assert proofs.judge(said(BYE, 5, signer=OTHER, hid=host_name(OTHER.public_key)), ("192.0.2.2", 1), 10.0) is (
        Verdict.BELIEVED
    ), "a newcomer"


def test_rubbish_from_made_up_sources_is_bounded_and_leaves_room_for_whoever_was_heard() -> None:
    proofs = known()
    before = proofs.counters["signatures_verified"]
    one = forged(HERE, 101)
    for number in range(4_000):
        proofs.judge(one, (f"198.51.{number // 250}.{number % 250}", 1), number / 1_000)
    verified = proofs.counters["signatures_verified"] - before
    assert verified <= limits.STRANGE_BURST + 4 * limits.STRANGE_RATE_PER_S
    strange = [proofs.judge(one, (f"203.0.113.{number}", 1), 4.0) for number in range(2)]
    assert strange[1] is Verdict.NOT_VERIFIED
    assert proofs.judge(said(HERE, 101), HOME, 10.0) is Verdict.BELIEVED


def test_a_made_up_name_costs_nothing() -> None:
    proofs = Proofs()
    assert proofs.judge(said(HERE, 1, hid=b"stranger"), HOME, 0.0) is Verdict.FORGED
    assert proofs.counters["signatures_verified"] == 0


def test_all_of_the_largest_subnet_are_heard_at_once() -> None:
    proofs = Proofs()
    for number in range(1_024):
        key = SigningKey.from_seed(number.to_bytes(32))
        datagram = said(HERE, 1, signer=key, hid=host_name(key.public_key))
        assert proofs.judge(datagram, (f"10.0.{number // 250}.{number % 250}", 1), 0.0) is Verdict.BELIEVED


def test_windows_forget_whoever_was_silent_for_longest() -> None:
    windows = ProvenWindows()
    names = [number.to_bytes(8) for number in range(SENDERS_MAX + 1)]
    for name in names:
        windows.prove(name, 1, 1)
        windows.prove(names[0], 1, 1)
    assert len(windows) == SENDERS_MAX
    assert windows.look(names[0], 1, 1) is Seen.DUPLICATE
    assert windows.look(names[1], 1, 1) is Seen.FRESH


def test_a_window_takes_what_is_signed_out_of_order_once() -> None:
    windows, rng = ProvenWindows(), Random(1)
    windows.prove(b"hosthost", 1, 1_000)
    order = [*range(1_001, 1_001 + WINDOW // 2)]
    rng.shuffle(order)
    for seq in order:
        assert windows.look(b"hosthost", 1, seq) is Seen.FRESH
        windows.prove(b"hosthost", 1, seq)
        assert windows.look(b"hosthost", 1, seq) is Seen.DUPLICATE


def test_so_many_pings_are_answered_in_a_second_and_others_have_theirs() -> None:
    proofs, ping = Proofs(), said(Ping(nonce=bytes(8)), 1, signer=None)
    verdicts = [proofs.judge(ping, ELSEWHERE, number / 1_000) for number in range(2_000)]
    assert verdicts.count(Verdict.BELIEVED) <= limits.SOURCE_BURST + 2 * limits.SOURCE_RATE_PER_S
    assert verdicts[-1] is Verdict.UNANSWERED
    assert proofs.judge(ping, HOME, 2.0) is Verdict.BELIEVED
    made_up = [proofs.judge(ping, (f"198.51.{number // 250}.{number % 250}", 1), 2.0) for number in range(4_000)]
    assert made_up.count(Verdict.BELIEVED) <= limits.KNOWN_BURST
