import contextlib
import json
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given

from mdht.signing import SigningKey
from mdht.subnet.errors import WireError
from mdht.subnet.host_keys import KEY_FIELD, PROOF_BYTES, SIGNATURE_BYTES, SIGNED, host_name, is_signed
from mdht.subnet.identity import POLICY_MAX, Identity, Kind
from mdht.subnet.messages import COPIES_MAX, HID_BYTES, Bye, Message, Pong, State
from mdht.subnet.wire import DATAGRAM_MAX, Header, LinkCodec, Opened
from tests.mdht.subnet.link_messages import EXAMPLES, EXAMPLES_IN_FULL, HEADER, headers, messages
from tests.mdht.subnet.test_wire import mutated

VECTORS = Path(__file__).with_name("signed_vectors.json")
SHARED = b"k" * 16
OWN = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey.from_seed(bytes(32))
MINE = msgspec.structs.replace(HEADER, hid=host_name(OWN.public_key))
BYE = Bye(handed_over=True)
HEAD_BYTES = 36
MUTATIONS = 20_000


def opened(data: bytes, *keys: bytes) -> Opened:
    found = LinkCodec("office", keys).open(data)
    assert found is not None
    return found


@given(headers, messages)
def test_what_is_signed_comes_back_and_is_proved_and_all_else_is_as_it_was(header: Header, message: Message) -> None:
    for keys in ((), (SHARED,)):
        data = LinkCodec("office", keys, OWN).encode(header, message)
        found = opened(data, *keys)
        assert (found.header, found.message) == (header, message)
        if is_signed(message):
            assert found.proof is not None
            assert found.proof.public_key == OWN.public_key
            assert found.proof.holds()
            assert len(data) == len(LinkCodec("office", keys).encode(header, message)) + PROOF_BYTES
        else:
            assert found.proof is None


def test_hosts_without_the_option_understand_what_is_signed() -> None:
    for example in EXAMPLES:
        data = LinkCodec("office", [SHARED], OWN).encode(HEADER, example)
        assert LinkCodec("office", [SHARED]).decode(data) == (HEADER, example)


def test_signed_messages_have_the_published_bytes() -> None:
    codec, keyed = LinkCodec("office", signer=OWN), LinkCodec("office", [SHARED], OWN)
    signed = [example for example in EXAMPLES if is_signed(example)]
    assert {type(example) for example in signed} == set(SIGNED)
    found = {type(example).__name__: codec.encode(MINE, example).hex() for example in signed}
    found["Bye with a shared key"] = keyed.encode(MINE, BYE).hex()
    found["Pong with a state"] = codec.encode(MINE, Pong(nonce=b"noncenon", state=State.READY)).hex()
    found["seed of the key"] = OWN.seed.hex()
    assert found == json.loads(VECTORS.read_text())


def test_a_name_is_the_beginning_of_a_hash_of_the_key() -> None:
    assert len(host_name(OWN.public_key)) == HID_BYTES
    assert host_name(OWN.public_key) != host_name(OTHER.public_key)
    assert host_name(OWN.public_key).hex() == "fb73e18239f0a0e4"


def test_a_changed_bit_breaks_the_proof_or_the_datagram() -> None:
    """Every one: of header, flags and sequence number too."""
    data = LinkCodec("office", signer=OWN).encode(MINE, BYE)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(WireError):
            found = LinkCodec("office").open(bytes(changed))
            if found is not None:  # None: of another overlay, or of a later version
                proof = found.proof
                assert proof is not None
                assert not proof.holds() or host_name(proof.public_key) != found.header.hid


def test_mutated_signed_datagrams_raise_nothing_but_the_wire_error_and_prove_nothing() -> None:
    rng = Random(1)
    codec = LinkCodec("office", signer=OWN)
    signed = [each for each in (*EXAMPLES, *EXAMPLES_IN_FULL.values()) if is_signed(each)]
    whole = [codec.encode(MINE, example) for example in signed]
    refused = proofs = 0
    for turn in range(MUTATIONS):
        data = mutated(whole[turn % len(whole)], rng)
        try:
            found = LinkCodec("office").open(data)
        except WireError:
            refused += 1
            continue
        if found is not None and found.proof is not None and data not in whole:
            proofs += 1
            assert not found.proof.holds()
    assert refused > MUTATIONS / 2
    assert proofs > 100, "some are whole but for what they say"


def field(number: int, value: bytes) -> bytes:
    return bytes((number,)) + len(value).to_bytes(2, "big") + value


PUBLIC, SIGNATURE = field(KEY_FIELD, bytes(32)), field(255, bytes(SIGNATURE_BYTES))


@pytest.mark.parametrize(
    "body",
    [
        PUBLIC,
        SIGNATURE,
        SIGNATURE + PUBLIC,
        PUBLIC + SIGNATURE + PUBLIC,
        PUBLIC + PUBLIC + SIGNATURE,
        PUBLIC + SIGNATURE + SIGNATURE,
        PUBLIC + field(1, b"\x01") + SIGNATURE,
        PUBLIC + SIGNATURE + field(1, b"\x01"),
        field(KEY_FIELD, bytes(31)) + SIGNATURE,
        PUBLIC + field(255, bytes(63)),
        field(KEY_FIELD, b"") + field(255, b""),
    ],
)
def test_a_proof_that_is_not_whole_or_not_at_the_end_is_refused(body: bytes) -> None:
    head = bytearray(LinkCodec("office").encode(HEADER, BYE)[:HEAD_BYTES])
    body = body if field(1, b"\x01") in body else field(1, b"\x01") + body
    head[6:8] = len(body).to_bytes(2, "big")
    with pytest.raises(WireError, match="a key and a signature"):
        LinkCodec("office").open(bytes(head) + body)


def test_a_signed_heartbeat_with_all_it_can_have_fits_a_datagram() -> None:
    full = msgspec.structs.replace(
        EXAMPLES_IN_FULL["Here with its subnet"],
        addresses=(("2001:db8::7", 27183),) * 4,
        mapped=("2001:db8::8", 27183),
        identity=Identity(Kind.NAME, b"x" * 64, b"saltsalt"),
        policy="x" * POLICY_MAX,
        unheard=(b"unheard0",) * COPIES_MAX,
    )
    assert len(LinkCodec("office", [SHARED], OWN).encode(MINE, full)) <= DATAGRAM_MAX


def test_a_signature_is_of_one_overlay_and_of_one_kind_of_message() -> None:
    data = LinkCodec("office", signer=OWN).encode(MINE, BYE)
    home = LinkCodec("home").encode(MINE, BYE)
    moved = data[:8] + home[8:12] + data[12:]
    found = LinkCodec("home").open(moved)
    assert found is not None
    assert found.proof is not None
    assert not found.proof.holds()
