"""Own address as others see it."""

from dhtboot.compact import pack_address
from dhtboot.kademlia.witnesses import WITNESSES_MAX, Witnesses

HOME = ("198.51.100.7", 27183)
LIE = ("203.0.113.1", 1)


def test_one_witness_is_not_believed_and_two_are() -> None:
    witnesses = Witnesses()
    assert witnesses.address is None
    witnesses.note(1, pack_address(HOME))
    witnesses.note(1, pack_address(HOME))
    assert witnesses.address is None
    witnesses.note(2, pack_address(LIE))
    assert witnesses.address is None
    witnesses.note(3, pack_address(HOME))
    assert witnesses.address == HOME


def test_bytes_that_are_no_address_are_no_address() -> None:
    witnesses = Witnesses()
    witnesses.note(1, b"nonsense")
    witnesses.note(2, b"nonsense")
    assert witnesses.address is None


def test_old_witnesses_make_room_for_new_ones() -> None:
    witnesses = Witnesses()
    for witness in range(WITNESSES_MAX):
        witnesses.note(witness, pack_address(LIE))
    for witness in range(WITNESSES_MAX, 2 * WITNESSES_MAX):
        witnesses.note(witness, pack_address(HOME))
    assert witnesses.address == HOME
