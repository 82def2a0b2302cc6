import os
from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from z2z.control import Answer, ProgramStatus, ask_all, copy_name, decode_answer, only_copy, run_directory, serve
from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.reports import ServiceStatus

ANSWER = Answer(
    program=ProgramStatus(
        pid=7,
        site="office",
        site_id="00",
        interface="eth0",
        exports=("_daap._tcp to mdht",),
        imports=(),
        keys=("office",),
        stores={},
        uptime_s=1.5,
    ),
    services=(ServiceStatus(role="export", state="exported", service="Tom's\nMusic\u2028", service_type="_daap._tcp"),),
)


def test_a_running_program_is_asked_through_its_socket(tmp_path):
    async def main():
        directory = run_directory(tmp_path)
        async with serve(directory, "one", lambda: ANSWER), serve(directory, "two", lambda: ANSWER):
            assert await ask_all(tmp_path) == [ANSWER, ANSWER]
        assert await ask_all(tmp_path) == []
        assert list(directory.iterdir()) == []

    trio.run(main)


def test_a_long_directory_works_although_unix_addresses_are_short(tmp_path):
    async def main():
        state_dir = tmp_path / ("x" * 100) / ("y" * 100)
        async with serve(run_directory(state_dir), "one", lambda: ANSWER):
            assert await ask_all(state_dir) == [ANSWER]

    trio.run(main)


def test_the_socket_of_a_killed_program_is_passed_over_and_replaced(tmp_path):
    async def main():
        directory = run_directory(tmp_path)
        dead = trio.socket.socket(trio.socket.AF_UNIX)
        await dead.bind(str(directory / "one.sock"))
        dead.close()
        (directory / "two.sock").write_text("not a socket")
        assert await ask_all(tmp_path) == []
        async with serve(directory, "one", lambda: ANSWER):
            assert await ask_all(tmp_path) == [ANSWER]

    trio.run(main)


def test_a_second_copy_is_told_the_process_of_the_first(tmp_path):
    directory = run_directory(tmp_path)
    with (
        only_copy(directory, "one"),
        only_copy(directory, "two"),
        pytest.raises(LocalProtocolError, match=rf"already running \(pid {os.getpid()}\)"),
        only_copy(directory, "one"),
    ):
        pass
    with only_copy(directory, "one"):
        pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalProtocolError, match="--state-dir"):
        run_directory(tmp_path / "file")


def test_only_this_user_may_look(tmp_path):
    assert run_directory(tmp_path / "state").stat().st_mode & 0o077 == 0


def test_a_copy_is_known_by_what_it_does():
    assert copy_name(("a", "b")) == copy_name(("a", "b")) != copy_name(("ab",))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_refused(data):
    with suppress(RemoteProtocolError):
        decode_answer(data)
