"""Frames between node and container: what is sent comes, and rubbish is one error."""

import array
import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.container.frames import (
    DESCRIPTORS_MAX,
    decode_from_container,
    decode_to_container,
    encode,
    receive_from_container,
    receive_to_container,
    send,
)
from netserv.container.messages import (
    FRAME_MAX,
    AttachRing,
    Connect,
    Connected,
    Failed,
    FromContainer,
    Load,
    Loaded,
    Log,
    Metrics,
    Ping,
    Pong,
    Ready,
    ToContainer,
    Unload,
    Unloaded,
)
from netserv.errors import LocalProtocolError, RemoteProtocolError, UnreachableError

TO_CONTAINER = st.one_of(
    *(st.from_type(kind) for kind in (AttachRing, Unload, Ping, Connected)),
    st.builds(Load, properties=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4)),
)
FROM_CONTAINER = st.one_of(
    *(st.from_type(kind) for kind in (Ready, Loaded, Unloaded, Failed, Log, Pong, Connect)),
    st.builds(Metrics, counters=st.dictionaries(st.text(), st.floats(allow_nan=False))),
)
LOAD = Load(module=1, name="a.b", version="1", directory="/m", entry="a:B", kind="server")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(one), closing(other):
        yield one, other


def fits(message: ToContainer | FromContainer) -> bool:
    """Numbers of hypothesis may pass 64 bits, which msgpack has no form for."""
    try:
        msgspec.msgpack.encode(message)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True


@given(TO_CONTAINER.filter(fits))
def test_what_the_node_says_comes_back_as_it_was(message: ToContainer) -> None:
    assert decode_to_container(encode(message)) == message


@given(FROM_CONTAINER.filter(fits))
def test_what_a_container_says_comes_back_as_it_was(message: FromContainer) -> None:
    assert decode_from_container(encode(message)) == message


@given(
    st.one_of(st.binary(max_size=400), st.binary(max_size=8).map(lambda tail: b"\x82\xa1t\xa4Load\xa5ports\xdd" + tail))
)
def test_any_bytes_are_a_frame_or_are_refused(data: bytes) -> None:
    for decode in (decode_to_container, decode_from_container):
        with suppress(RemoteProtocolError):
            message = decode(data)
            assert decode(encode(message)) == message


@given(FROM_CONTAINER.filter(fits), st.integers(0, 200), st.binary(max_size=3))
def test_a_changed_frame_is_a_frame_or_is_refused(message: FromContainer, at: int, put: bytes) -> None:
    data = encode(message)
    with suppress(RemoteProtocolError):
        decode_from_container(data[: at % (len(data) + 1)] + put + data[at % (len(data) + 1) + len(put) :])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x91" * 60_000,
        b"\x82\xa1t\xa4Pong\xa1x" + b"\x91" * 60_000 + b"\xc0",
        b"\x82\xa1t\xa4Pong\xa1x\xdd\xff\xff\xff\xff",
        b"\x82\xa1t\xa4Load\xa5ports\xdd\xff\xff\xff\xff",
        b"\x83\xa1t\xa6Loaded\xa6module\xd9\x02\xff\xfe",
        encode(LOAD) + b"\x00",
    ],
    ids=["empty", "deep", "deep in an unknown field", "2^32 unknown", "2^32 ports", "no text", "a tail"],
)
def test_rubbish_is_one_error(data: bytes) -> None:
    for decode in (decode_to_container, decode_from_container):
        with pytest.raises(RemoteProtocolError, match="no frame of a container"):
            decode(data)


def test_a_container_cannot_speak_as_the_node() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_from_container(encode(LOAD))
    with pytest.raises(RemoteProtocolError):
        decode_to_container(encode(Loaded(module=1)))


def test_descriptors_arrive_in_their_order(pair: tuple[socket.socket, socket.socket]) -> None:
    pipes = [os.pipe() for _ in range(3)]
    send(pair[0], AttachRing(), [pipe[1] for pipe in pipes])
    received = receive_to_container(pair[1])
    assert received is not None
    message, descriptors = received
    assert message == AttachRing()
    for number, (descriptor, (reading, writing)) in enumerate(zip(descriptors, pipes, strict=True)):
        assert not os.get_inheritable(descriptor)
        os.write(descriptor, b"%d" % number)
        assert os.read(reading, 9) == b"%d" % number
        for each in (descriptor, reading, writing):
            os.close(each)


@pytest.mark.parametrize(
    "message", [AttachRing(), Connected(number=1), msgspec.structs.replace(LOAD, ports=(("tcp", 80),))]
)
def test_a_frame_without_its_descriptors_is_not_sent(
    pair: tuple[socket.socket, socket.socket], message: ToContainer
) -> None:
    with pytest.raises(LocalProtocolError, match="0 descriptors beside"):
        send(pair[0], message)


@pytest.mark.parametrize("count", [1, 2, 4, DESCRIPTORS_MAX, DESCRIPTORS_MAX + 1, 200])
def test_other_descriptors_than_named_are_refused_and_closed(
    pair: tuple[socket.socket, socket.socket], count: int
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * count))]
    pair[0].sendmsg([encode(AttachRing())], rights)
    with pytest.raises(RemoteProtocolError, match="descriptors"):
        receive_to_container(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_node_takes_no_descriptor_from_a_container(pair: tuple[socket.socket, socket.socket]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    pair[0].sendmsg([encode(Pong(number=1))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
    with pytest.raises(RemoteProtocolError, match="descriptors"):
        receive_from_container(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_frame_that_is_too_long_is_neither_sent_nor_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(LocalProtocolError, match="shorten its text"):
        send(pair[0], Log(module=1, level="info", text="x" * FRAME_MAX))
    pair[0].send(msgspec.msgpack.encode(Log(module=1, level="info", text="x" * FRAME_MAX)))
    with pytest.raises(RemoteProtocolError, match="more bytes"):
        receive_from_container(pair[1])
    send(pair[0], Pong(number=5))
    assert receive_from_container(pair[1]) == Pong(number=5)


def test_the_end_is_told_from_silence(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        receive_from_container(pair[1])
    send(pair[0], Pong(number=5))
    pair[0].close()
    assert receive_from_container(pair[1]) == Pong(number=5)
    assert receive_from_container(pair[1]) is None
    with pytest.raises(UnreachableError, match="closed"):
        send(pair[1], Ping(number=1))
