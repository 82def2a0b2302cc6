"""What the supervisor does when modules come, go, fail and crash; and that nothing of them is left."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import trio

from netserv.container.cgroups import PREFIX
from netserv.container.states import Died, Failed, Loaded, ModuleState, Stopped
from netserv.errors import LocalProtocolError, SystemRefusedError, UnreachableError
from netserv.modules.manifest import PortWish
from tests.netserv.container.world import (
    BOXED,
    account,
    config,
    installation,
    limits,
    next_event,
    said,
    status,
    supervised,
    until,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can put up the walls of a container")
ROOT = Path(__file__).parents[3]


def groups(process: int) -> set[Path]:
    """Those of a container: the directories of its own, and of its node."""
    names = {Path(line.rpartition(":")[2]) for line in read(f"/proc/{process}/cgroup").splitlines()}
    own = {part for name in names for part in name.parts if part.startswith(PREFIX)}
    assert len(own) == 1
    return {Path(at) / name for at, names, _ in os.walk("/sys/fs/cgroup") for name in names if name in own}


@contextmanager
def nobody_sweeps(places: set[Path]) -> Iterator[None]:
    """No node of a test beside this one begins, and removes what a dead one has left."""
    root = Path("/sys/fs/cgroup")
    above = {each for place in places for each in place.parents if each.is_relative_to(root)}
    with ExitStack() as held:
        for each in sorted(above):
            descriptor = os.open(each, os.O_RDONLY)
            held.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def read(path: str) -> str:
    return Path(path).read_text()


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_modules_of_one_publisher_share_a_container_and_others_do_not() -> None:
    async with supervised() as supervisor:
        for name in ("alice", "alice", "bob"):
            await supervisor.install(installation(account=name))
        alice, bob = status(supervisor), status(supervisor, "bob")
        assert len(alice.modules) == 2
        assert alice.process != bob.process
        assert alice.user != bob.user
        for each in (alice, bob):
            owner = os.stat(f"/proc/{each.process}")
            fields = dict(line.split(":\t", 1) for line in read(f"/proc/{each.process}/status").splitlines())
            assert set(fields["Uid"].split()) == set(fields["Gid"].split()) == {str(each.user)}
            assert fields["Groups"].strip() == ""
            assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "CapInh")} == {"0" * 16}
            assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
            assert owner.st_uid in {0, each.user}


async def test_the_files_of_a_module_are_where_load_says() -> None:
    async with supervised() as supervisor:
        lines = await said(supervisor, "say(open(load.directory + '/here.txt').read())")
        assert lines == ["of the bundle"]


async def test_the_last_module_ends_its_container() -> None:
    async with supervised() as supervisor:
        first = await supervisor.install(installation())
        second = await supervisor.install(installation())
        process = status(supervisor).process
        places = groups(process)
        assert len(places) >= 3
        assert all((place / "c0").exists() for place in places)
        await supervisor.remove(first)
        assert runs(process)
        await supervisor.remove(second)
        assert supervisor.status() == []
        assert not runs(process)
        assert not any((place / "c0").exists() for place in places)
        with pytest.raises(LocalProtocolError, match="no module"):
            await supervisor.remove(second)
    assert not any(place.exists() for place in places)


async def test_a_publisher_who_comes_again_finds_nothing_of_his_old_data() -> None:
    async with supervised() as supervisor:
        number = await supervisor.install(installation("open('/data/kept', 'w').write('x')"))
        await supervisor.remove(number)
        assert await said(supervisor, "import os; say(os.listdir('/data'))") == ["[]"]


async def test_a_container_can_be_warm_and_stay_so() -> None:
    async with supervised(config(keep_warm_s=60.0)) as supervisor:
        await supervisor.warm(account("alice"))
        process = status(supervisor).process
        number = await supervisor.install(installation())
        await supervisor.remove(number)
        assert status(supervisor).process == process


async def test_a_module_that_does_not_load_says_why_and_leaves_nothing() -> None:
    with closing(socket.create_server(("", 0))) as free:
        port = free.getsockname()[1]
    async with supervised() as supervisor:
        with pytest.raises(UnreachableError, match="ZeroDivisionError"):
            await supervisor.install(installation("1 / 0", ports=(PortWish("tcp", port),)))
        assert supervisor.status() == []
        socket.create_server(("", port)).close()


async def test_a_port_that_somebody_has_is_refused() -> None:
    async with supervised() as supervisor:
        with closing(socket.create_server(("", 0))) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(SystemRefusedError, match=f"port {port}/tcp: Address already in use"):
                await supervisor.install(installation(ports=(PortWish("tcp", port),)))


async def test_a_module_with_policy_reload_comes_back_with_its_data_and_its_port() -> None:
    with closing(socket.create_server(("", 0))) as free:
        port = free.getsockname()[1]
    crash_once = """
import os, time
if not os.path.exists("/data/again"):
    open("/data/again", "x").close()
    time.sleep(0.05)
    os._exit(3)
"""
    async with supervised() as supervisor:
        number = await supervisor.install(
            installation(beside=crash_once, failure="reload", ports=(PortWish("tcp", port),))
        )
        died = await next_event(supervisor, Died)
        assert died.why == "it ended with status 3"
        stopped = await next_event(supervisor, Stopped)
        assert (stopped.module, stopped.again_in_s) == (number, 1.0)
        with pytest.raises(OSError, match="Address already in use"):
            socket.create_server(("", port))
        assert (await next_event(supervisor, Loaded)) == Loaded(number, again=True)
        (module,) = status(supervisor).modules
        assert (module.state, module.restarts) == (ModuleState.RUNNING, 1)


@pytest.mark.parametrize("failure", ["open", "closed"])
async def test_a_module_with_another_policy_stays_away(failure: str) -> None:
    async with supervised() as supervisor:
        number = await supervisor.install(
            installation(beside="import os, time; time.sleep(0.05); os._exit(3)", failure=failure)
        )
        assert (await next_event(supervisor, Stopped)).again_in_s is None
        (module,) = status(supervisor).modules
        assert module.state is ModuleState.FAILED
        assert not status(supervisor).running
        await supervisor.remove(number)
        assert supervisor.status() == []


async def test_a_module_that_fails_too_often_is_stopped() -> None:
    text = "for _ in range(10): send(control, Failed(module=load.module, where='process', text='boom'))"
    script = f"from netserv.container.messages import Failed, Loaded\nsend(control, Loaded(module=load.module))\n{text}"
    async with supervised() as supervisor:
        number = await supervisor.install(installation(script))
        assert await next_event(supervisor, Failed) == Failed(number, "process", "boom")
        stopped = await next_event(supervisor, Stopped)
        assert (stopped.module, stopped.why) == (number, "it has failed too often")
        assert status(supervisor).running
        assert status(supervisor).modules[0].strikes == 10


async def test_the_others_come_back_when_a_container_is_ended_because_of_one() -> None:
    async with supervised(config(load_s=0.3)) as supervisor:
        innocent = await supervisor.install(installation())
        with pytest.raises(UnreachableError, match=r"has not started in 0.3 s"):
            await supervisor.install(installation("import time; time.sleep(60)"))
        assert (await next_event(supervisor, Stopped)).module == innocent
        assert await next_event(supervisor, Loaded) == Loaded(innocent, again=True)


def of_controller(places: set[Path], controller: str) -> list[str]:
    """The limit of the first container, in whichever version of control groups."""
    names = {"cpu": ("cpu.cfs_quota_us", "cpu.max"), "memory": ("memory.limit_in_bytes", "memory.max")}[controller]
    files = [path for place in places for name in names for path in place.glob(f"c0/{name}")]
    return [path.read_text().split()[0] for path in files]


async def test_what_is_killed_has_no_share_of_the_processor_to_wait_for_until_it_starts_again() -> None:
    async with supervised(config(load_s=0.3)) as supervisor:
        await supervisor.install(installation())
        places = groups(status(supervisor).process)
        assert of_controller(places, "cpu") == ["5000"]
        with pytest.raises(UnreachableError, match=r"has not started in 0.3 s"):
            await supervisor.install(installation("import time; time.sleep(60)"))
        assert of_controller(places, "cpu") in (["-1"], ["max"])
        await next_event(supervisor, Stopped)
        await next_event(supervisor, Loaded)
        assert of_controller(places, "cpu") == ["5000"]


@pytest.mark.parametrize("mib", [48, 96])
async def test_limits_that_have_changed_count_from_the_next_start(mib: int) -> None:
    async with supervised() as supervisor:
        await supervisor.install(installation())
        os.kill(status(supervisor).process, signal.SIGKILL)
        await next_event(supervisor, Died)
        changed = account("alice", limits=limits(memory_bytes=mib << 20))
        await supervisor.install(installation(account=changed))
        assert of_controller(groups(status(supervisor).process), "memory") == [str(mib << 20)]


async def test_the_death_of_the_zygote_is_that_of_all_and_the_next_module_gets_another() -> None:
    async with supervised() as supervisor:
        await supervisor.install(installation())
        victim = status(supervisor).process
        fields = read(f"/proc/{victim}/stat").rpartition(")")[2].split()
        os.kill(int(fields[1]), signal.SIGKILL)
        await next_event(supervisor, Died)
        assert not runs(victim)
        assert await said(supervisor, "say('here')", account="bob") == ["here"]


async def test_what_is_used_is_seen() -> None:
    work = """
import builtins
builtins.kept = bytearray(20 << 20)
open("/data/f", "wb").write(bytes(1 << 20))
for _ in range(300_000):
    pass
"""
    async with supervised() as supervisor:
        await supervisor.install(installation(work, account=account("alice", limits=limits(disk_bytes=2 << 20))))
        used = status(supervisor)
        assert 20 << 20 < used.memory_bytes <= used.memory_limit_bytes
        assert used.disk_bytes == 1 << 20
        assert used.disk_limit_bytes == 2 << 20
        assert used.cpu_s > 0
        assert used.pids == 1


NODE = """
import sys, trio
sys.path.insert(0, {root!r})
from tests.netserv.container.world import installation, status, supervised

async def main():
    async with supervised() as supervisor:
        for name in ("alice", "bob"):
            await supervisor.install(installation(beside="while True: pass", account=name))
        print(*(one.process for one in supervisor.status()), flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_nothing_outlives_a_node_that_is_killed() -> None:
    node = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", NODE.format(root=str(ROOT))], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert node.stdout is not None
    with node.stdout:
        boxes = list(map(int, node.stdout.readline().split()))
    assert len(boxes) == 2
    assert all(map(runs, boxes))
    places = groups(boxes[0])
    with nobody_sweeps(places):
        node.kill()
        node.wait()
        await until(lambda: not any(map(runs, boxes)))
        assert all(place.exists() for place in places)  # empty, and of nobody
    async with supervised() as supervisor:
        await supervisor.install(installation())
    assert not any(place.exists() for place in places)
    assert "netserv" not in read("/proc/self/mountinfo")
    assert str(BOXED) not in read("/proc/self/mountinfo")


@pytest.mark.parametrize("loading", [False, True])
async def test_a_node_that_is_stopped_while_a_module_comes_ends_at_once(loading: bool) -> None:
    process = 0
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, supervised() as supervisor:
            nursery.start_soon(supervisor.install, installation("import time; time.sleep(30)" if loading else "pass"))

            def look() -> bool:
                return any(each.process and bool(each.walls) >= loading for each in supervisor.status())

            await until(look)
            process = status(supervisor).process
            nursery.cancel_scope.cancel()
            await trio.lowlevel.checkpoint()
    assert not runs(process)


async def test_more_containers_than_one_may_have_descriptors() -> None:
    """The zygote holds one for each, which its children inherit."""
    few = limits(descriptors=24)
    async with supervised() as supervisor:
        for number in range(26):
            await supervisor.install(installation(account=account(f"publisher {number}", limits=few)))
        assert all(all(one.walls.values()) for one in supervisor.status())
