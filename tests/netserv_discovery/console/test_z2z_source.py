from pathlib import Path

import pytest
import trio

from netserv_discovery.console.z2z_source import Z2zSource
from z2z.control import Answer, ProgramStatus, run_directory, serve
from z2z.errors import RemoteProtocolError, StoreError
from z2z.reports import ServiceStatus

PROGRAM = ProgramStatus(
    pid=7,
    site="branch",
    site_id="00" * 8,
    interface="eth0",
    exports=("_ipp._tcp to mdht",),
    imports=("from mdht",),
    keys=("office",),
    stores={"mdht": "joined"},
    uptime_s=1.0,
    refused={"older": 5, "own": 2},
)
SERVICES = (
    ServiceStatus(role="export", state="exported", service="Scanner", service_type="_ipp._tcp", keys=("office",)),
    ServiceStatus(
        role="import", state="imported", service="Music", service_type="_daap._tcp", site="there", shown_as="Music (2)"
    ),
)


def test_programs_and_services_are_shown(tmp_path: Path) -> None:
    async def main() -> None:
        said = [Answer(program=PROGRAM, services=SERVICES)]
        async with serve(run_directory(tmp_path), "copy", lambda: said[0]):
            source = Z2zSource((tmp_path, tmp_path / "none"))
            view = await source.snapshot()
            (program,) = view.items["programs"].values()
            assert (program.site, program.stores, program.refused) == ("branch", ("mdht: joined",), 2)
            services = {each.service: each for each in view.items["services"].values()}
            assert services["Music"].shown_as == "Music (2)"
            assert services["Scanner"].keys == ("office",)
            assert view.why == "1 program, 2 services"
            said[0] = Answer(program=PROGRAM, services=())
            assert not (await source.snapshot()).items["services"]

    trio.run(main)


def test_two_programs_with_the_same_service_are_two_lines(tmp_path: Path) -> None:
    async def main() -> None:
        other = ProgramStatus(**{name: getattr(PROGRAM, name) for name in PROGRAM.__struct_fields__} | {"pid": 8})
        directory = run_directory(tmp_path)
        async with (
            serve(directory, "one", lambda: Answer(program=PROGRAM, services=SERVICES)),
            serve(directory, "two", lambda: Answer(program=other, services=SERVICES)),
        ):
            assert len((await Z2zSource((tmp_path,)).snapshot()).items["services"]) == 4

    trio.run(main)


def test_without_a_program_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="start one with `z2z --export"):
        trio.run(Z2zSource((tmp_path,)).snapshot)


def test_a_program_of_another_version_is_one_clear_error(tmp_path: Path) -> None:
    async def main() -> None:
        path = run_directory(tmp_path) / "odd.sock"
        sock = trio.socket.socket(trio.socket.AF_UNIX)
        await sock.bind(str(path))
        sock.listen()

        async def odd(stream: trio.SocketStream) -> None:
            async with stream:
                await stream.send_all(b'{"pid": "many"}\n')

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, odd, [trio.SocketListener(sock)])
            with pytest.raises(RemoteProtocolError, match="cannot read"):
                await Z2zSource((tmp_path,)).snapshot()
            nursery.cancel_scope.cancel()

    trio.run(main)
