import math

from mdht.subnet.peers import HELLOS_MAX, PEERS_MAX, Peers

A, B, C = (("192.0.2.1", 4000), ("192.0.2.2", 4000), ("192.0.2.3", 4000))


def test_who_is_known_and_no_member_is_due_at_once_and_then_now_and_then() -> None:
    peers = Peers(5.0)
    assert math.isinf(peers.next_deadline())
    peers.add(A, 10.0, lasting=True)
    peers.add(B, 11.0)
    assert peers.next_deadline() == 11.0
    assert peers.strangers([], 11.0) == [A, B]
    assert peers.next_deadline() == 16.0
    assert peers.strangers([B], 16.0) == [A]


def test_hearsay_is_forgotten_when_nobody_answers_and_what_a_user_says_is_not() -> None:
    peers = Peers(5.0)
    peers.add(A, 0.0, lasting=True)
    peers.add(B, 0.0)
    asked = [peers.strangers([], 5.0 * turn) for turn in range(HELLOS_MAX + 2)]
    assert asked == [[A, B]] * HELLOS_MAX + [[A]] * 2
    peers.add(B, 99.0)
    assert peers.strangers([], 99.0) == [A, B], "it was heard of again"


def test_with_nobody_left_nothing_is_due() -> None:
    peers = Peers(5.0)
    peers.add(A, 0.0)
    assert peers.strangers([A], 0.0) == []
    assert math.isinf(peers.next_deadline())


def test_who_is_heard_of_twice_is_not_hurried() -> None:
    peers = Peers(5.0)
    peers.add(A, 0.0)
    peers.strangers([], 0.0)
    peers.add(A, 1.0)
    assert peers.next_deadline() == 5.0


def test_of_many_the_oldest_hearsay_goes_and_no_more_is_configured_than_fits() -> None:
    peers = Peers(5.0)
    for number in range(PEERS_MAX + 9):
        peers.add(("192.0.2.1", 1 + number), 0.0)
        peers.add(("192.0.2.2", 1 + number), 0.0, lasting=True)
    found = peers.strangers([], 0.0)
    assert len(found) == 2 * PEERS_MAX
    assert ("192.0.2.2", PEERS_MAX) in found
    assert ("192.0.2.1", PEERS_MAX + 9) in found
    assert ("192.0.2.1", 1) not in found
