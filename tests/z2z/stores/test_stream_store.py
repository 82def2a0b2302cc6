import logging
import math
import os

import pytest
import trio

from tests.z2z.exports import item, stored
from z2z.errors import StoreError
from z2z.keys import dht_key
from z2z.stores.stream import ANY_KEY, StreamReader, StreamWriter
from z2z.stream import LINE_MAX, StreamEvent, decode_line, encode_line

KEY = dht_key("office")
VALUE = stored(item())


def plus(value=VALUE, key=KEY, event="+"):
    return encode_line(
        StreamEvent(event=event, key=key, writer=value.writer, name=value.name, lease_s=300, value=value.value)
    )


def minus(value=VALUE, key=KEY):
    return encode_line(StreamEvent(event="-", key=key, writer=value.writer, name=value.name))


def read_all(data, tmp_path=None):
    """Return a reader that has read `data` from a pipe, or from a file, to its end."""

    def write(into):
        with os.fdopen(into, "wb") as pipe:
            pipe.write(data)

    async def main():
        async with trio.open_nursery() as nursery:
            if tmp_path is None:
                out, into = os.pipe()
                nursery.start_soon(trio.to_thread.run_sync, write, into)  # a pipe holds less than some tests say
            else:
                (tmp_path / "services.txt").write_bytes(data)
                out = os.open(tmp_path / "services.txt", os.O_RDONLY)
            reader = StreamReader(out)
            await reader.run()
        os.close(out)
        return reader, await reader.get(KEY), await reader.get(ANY_KEY)

    return trio.run(main)


def test_puts_and_removes_become_lines():
    async def main():
        out, into = os.pipe()
        store = StreamWriter(VALUE.writer, into)
        await store.put(KEY, b"n", VALUE.value, 300)
        await store.put(KEY, b"n", VALUE.value, 300)
        await store.remove(KEY, b"n")
        await store.remove(KEY, b"never put")
        os.close(into)
        with os.fdopen(out, "rb") as lines:
            return [decode_line(line) for line in lines]

    events = trio.run(main)
    assert [event.event for event in events] == ["+", "~", "-"]
    assert events[0].value == VALUE.value


def test_a_reader_that_is_gone_ends_the_store():
    async def main():
        out, into = os.pipe()
        os.close(out)
        store = StreamWriter(VALUE.writer, into)
        with pytest.raises(StoreError, match="Broken pipe"):
            await store.put(KEY, b"n", VALUE.value, 300)
        os.close(into)
        return store.ended.is_set()

    assert trio.run(main)


def test_lines_of_a_pipe_become_values_and_its_end_ends_the_store():
    reader, under_key, all_values = read_all(plus())
    assert [value.value for value in under_key] == [value.value for value in all_values] == [VALUE.value]
    assert 299 < under_key[0].remaining_s <= 300
    assert reader.ended.is_set()


def test_what_a_file_says_does_not_age(tmp_path):
    reader, (value,), _ = read_all(plus(), tmp_path)
    assert value.remaining_s == math.inf
    assert not reader.ended.is_set()


def test_a_removed_value_is_gone():
    assert read_all(plus() + minus())[2] == []


def test_other_keys_do_not_mix():
    _, under_key, all_values = read_all(plus() + plus(key=dht_key("home")))
    assert (len(under_key), len(all_values)) == (1, 2)


def test_a_bad_line_is_named_by_its_number_and_the_rest_is_read(caplog):
    with caplog.at_level(logging.WARNING):
        reader, under_key, _ = read_all(b"hello\n" + plus() + b" \n" + b"x" * (3 * LINE_MAX) + b"\n" + plus(event="~"))
    assert len(under_key) == 1
    assert reader.bad_lines == 2
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "standard input, line 1",
        "standard input, line 4",
    ]


def test_more_values_than_the_cap_are_refused(monkeypatch, caplog):
    monkeypatch.setattr("z2z.stores.stream.VALUES_MAX", 1)
    reader, _, all_values = read_all(plus() + plus(stored(item(b"another"))))
    assert (len(all_values), reader.bad_lines) == (1, 1)


def test_a_last_line_without_its_end_is_read():
    assert len(read_all(plus().rstrip(b"\n"))[1]) == 1


def test_a_listener_hears_the_past_and_what_follows():
    async def main():
        out, into = os.pipe()
        reader = StreamReader(out)
        heard = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.run)
            os.write(into, plus())
            while not await reader.get(KEY):
                await trio.lowlevel.checkpoint()
            async with reader.listen(KEY) as changes:
                heard.append(await changes.receive())
                os.write(into, plus(event="~") + plus(key=dht_key("home")) + minus())
                heard += [await changes.receive(), await changes.receive()]
            os.close(into)
        os.close(out)
        return [change.kind for change in heard]

    assert trio.run(main) == ["added", "updated", "removed"]


def test_each_side_does_only_its_half():
    async def main():
        out, into = os.pipe()
        reader, writer = StreamReader(out), StreamWriter(VALUE.writer, into)
        with pytest.raises(StoreError):
            await reader.put(KEY, b"", b"", 1)
        with pytest.raises(StoreError):
            await reader.remove(KEY, b"")
        assert await writer.get(KEY) == []
        async with writer.listen(KEY) as changes:
            with pytest.raises(trio.WouldBlock):
                changes.receive_nowait()
        os.close(out)
        os.close(into)

    trio.run(main)
