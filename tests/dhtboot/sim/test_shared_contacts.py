from dhtboot.ids import NodeRef, id_bytes
from dhtboot.sim.shared_contacts import SharedContacts

ADDRESS = ("192.0.2.1", 4000)


def test_a_sender_is_the_same_object_each_time() -> None:
    contacts = SharedContacts()
    first = contacts.of(id_bytes(7), ADDRESS)
    assert first == NodeRef(7, ADDRESS)
    assert contacts.of(id_bytes(7), ADDRESS) is first


def test_a_sender_that_has_moved_is_another_contact() -> None:
    contacts = SharedContacts()
    first = contacts.of(id_bytes(7), ADDRESS)
    assert contacts.of(id_bytes(7), ("192.0.2.2", 4000)) == NodeRef(7, ("192.0.2.2", 4000))
    assert first == NodeRef(7, ADDRESS), "whoever holds the former one keeps it"
