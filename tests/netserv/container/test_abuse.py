"""What a hostile module tries, and what is seen of it from outside: each time beside a harmless twin that works."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import trio

from netserv.container.states import ContainerStatus, Died
from netserv.errors import UnreachableError
from netserv.modules.manifest import PortWish
from tests.netserv.container.world import (
    PATIENCE_S,
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
SECRET = "correct horse battery staple"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A service of the node on its loopback address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as sock:
        sock.setblocking(False)
        yield sock


async def test_nothing_of_others_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "controller.toml").write_text(SECRET)
    look = f"""
import os
found = []
for directory, names, files in os.walk("/"):
    for name in files:
        try:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and os.path.getsize(path) < 4096 and {SECRET!r} in open(path).read():
                found.append(path)
        except (OSError, ValueError):
            pass
say(found)
own = {str(tmp_path / "controller.toml")!r}
for path in ("/etc/shadow", "/proc/1/environ", "/proc/self/mem", "/sys/kernel", "/root/.ssh/id_rsa", own):
    say(attempt(open, path))
"""
    async with supervised() as supervisor:
        await supervisor.install(installation(f"open('/data/key', 'w').write({SECRET!r})"))
        assert await said(supervisor, look, account="mallory") == ["[]", *["ENOENT"] * 6]
        assert await said(supervisor, "say(open('/data/key').read())") == [SECRET]


async def test_nothing_is_written_outside_the_own_directory(tmp_path: Path) -> None:
    target = tmp_path / "written"
    attack = f"""
import os
os.symlink({str(target)!r}, "/data/link")
os.symlink("/", "/data/up")
for path in ({str(target)!r}, "/data/link", "/data/up{target}", "/data/../x", "/../../x", "/proc/1/root/x",
             "/modules/x", "/modules/1/here.txt", os.__file__, "/dev/x"):
    say(attempt(open, path, "w"))
say(attempt(os.link, "/dev/null", "/data/hard"))
say(attempt(os.mknod, "/data/disk", 0o60600, os.makedev(254, 0)))
"""
    async with supervised() as supervisor:
        refused = await said(supervisor, attack, account="mallory")
        assert set(refused) <= {"ENOENT", "EROFS", "EACCES", "EPERM", "EXDEV"}, refused
        assert not target.exists()
        twin = "import os; os.mkdir('/data/d'); open('/data/d/f', 'w').write('x'); say(os.listdir('/data/d'))"
        assert await said(supervisor, twin) == ["['f']"]


async def test_only_unix_sockets_are_made() -> None:
    attack = """
import socket
for family, kind in ((2, 1), (2, 2), (10, 1), (2, 3), (17, 3), (16, 3), (40, 1), (38, 5), (31, 3), (44, 3)):
    say(attempt(socket.socket, family, kind))
"""
    async with supervised() as supervisor:
        assert await said(supervisor, attack) == ["EAFNOSUPPORT"] * 10
        twin = "import socket; one, other = socket.socketpair(); one.send(b'hello'); say(other.recv(9))"
        assert await said(supervisor, twin) == ["b'hello'"]


async def test_a_socket_of_the_node_cannot_be_turned_elsewhere(listener: socket.socket) -> None:
    """A listening socket that is shut down could be connected by TCP Fast Open, without any connect."""
    port = listener.getsockname()[1]
    attack = f"""
import socket
sock = socket.socket(fileno=descriptors[0])
there = ("127.0.0.1", {port}) if sock.family == socket.AF_INET else ("::ffff:127.0.0.1", {port})
say(attempt(sock.connect, there))
say(attempt(sock.shutdown, socket.SHUT_RD))
say(attempt(sock.bind, ("", 0)))
say(attempt(sock.sendto, b"x", 0x20000000, there))
say(attempt(sock.sendmsg, [b"x"], [], 0x20000000, there))
say(attempt(sock.setsockopt, 1, 26, bytes(16)))
"""
    with closing(socket.create_server(("", 0))) as free:
        granted = PortWish("tcp", free.getsockname()[1])
    async with supervised() as supervisor:
        lines = await said(supervisor, attack, ports=(granted,))
        assert lines == ["EPERM", "done", "EPERM", "EPERM", "EPERM", "EPERM"]
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_a_granted_port_is_served(listener: socket.socket) -> None:
    serve = """
import socket
sock = socket.socket(fileno=descriptors[0])
while True:
    connection, _ = sock.accept()
    connection.send(b"hello")
    connection.close()
"""
    with closing(socket.create_server(("", 0))) as free:
        port = free.getsockname()[1]
    async with supervised() as supervisor:
        await supervisor.install(installation(beside=serve, ports=(PortWish("tcp", port),)))
        with trio.fail_after(PATIENCE_S):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                assert await stream.receive_some() == b"hello"


CONNECT = """
from netserv.container.frames import receive_to_container
from netserv.container.messages import Connect
import os, socket
def ask(host, port):
    send(control, Connect(number=1, module=1, host=host, port=port))
    while True:
        message, given = receive_to_container(control)
        if type(message).__name__ == "Connected":
            return message.error or socket.socket(fileno=given[0])
"""


async def test_the_node_connects_only_where_the_operator_allows(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    here = f"say(ask('127.0.0.1', {port}))"
    async with supervised() as supervisor:
        everywhere = account("mallory", connects=("0.0.0.0/0", "::/0"))
        attack = CONNECT + "".join(
            f"say(ask({host!r}, {port}))\n"
            for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "::ffff:127.0.0.1", "169.254.169.254", "224.0.0.1")
        )
        lines = await said(supervisor, attack, account=everywhere)
        assert len(lines) == 7
        assert all("not in the prefixes" in line for line in lines), lines
        assert "may connect nowhere" in (await said(supervisor, CONNECT + here, account="nobody"))[0]
        with pytest.raises(BlockingIOError):
            listener.accept()
        on_purpose = account("alice", connects=("127.0.0.1/32",))
        twin = CONNECT + f"ask('127.0.0.1', {port}).send(b'hello')"
        await said(supervisor, twin, account=on_purpose)
        listener.setblocking(True)
        with closing(listener.accept()[0]) as accepted:
            assert accepted.recv(9) == b"hello"


PROCESSES = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
THREADS = """
import threading, time
while True:
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    except RuntimeError:
        pass
"""


@pytest.mark.parametrize("bomb", [PROCESSES, THREADS], ids=["processes", "threads"])
async def test_a_bomb_of_processes_stays_in_its_box(bomb: str) -> None:
    async with supervised() as supervisor:
        twin = await supervisor.install(installation())
        await supervisor.install(installation(beside=bomb, account="mallory"))
        await until(lambda: status(supervisor, "mallory").pids == 16)
        assert status(supervisor, "mallory").pids <= 16
        with trio.fail_after(PATIENCE_S):
            assert await said(supervisor, "say('here')") == ["here"]
        await supervisor.remove(twin)


async def test_memory_that_is_not_there_is_an_error_in_the_module() -> None:
    attack = "say(attempt(bytearray, 80 << 20))"
    async with supervised() as supervisor:
        assert await said(supervisor, attack, account="mallory") == ["MemoryError"]
        assert await said(supervisor, "say(len(bytearray(30 << 20)))") == [str(30 << 20)]
        assert status(supervisor, "mallory").running


async def test_a_memory_bomb_ends_its_own_box_only() -> None:
    """Of many processes, each below its own limit."""
    bomb = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        kept = bytearray(b"x") * (20 << 20)
        time.sleep(60)
        os._exit(0)
"""
    async with supervised() as supervisor:
        await supervisor.install(installation())
        before = status(supervisor)
        with suppress(UnreachableError):  # it may end its box before its module has said that it runs
            await supervisor.install(installation(beside=bomb, account="mallory"))

        def boxes() -> list[ContainerStatus]:
            return [box for box in supervisor.status() if box.account == "mallory"]

        # By the kernel, or by the node: what has no memory and hardly any processor may not answer either.
        await until(lambda: all(box.killed_for_memory > 0 or not box.running for box in boxes()))
        assert all(box.memory_bytes <= 64 << 20 for box in boxes())
        assert status(supervisor).process == before.process
        assert await said(supervisor, "say('here')") == ["here"]


async def test_ten_thousand_descriptors_are_not_there() -> None:
    attack = """
import os
opened = 0
try:
    while opened < 10_000:
        os.pipe()
        opened += 2
except OSError as error:
    say(error.errno)
say(opened)
"""
    async with supervised() as supervisor:
        number, opened = await said(supervisor, attack)
        assert int(number) == 24  # EMFILE
        assert int(opened) < 128


@pytest.mark.parametrize("how", ["one file", "many files"])
async def test_a_full_disk_is_only_the_publishers_own(how: str) -> None:
    attack = """
import os
error = ""
try:
    with open("/data/big", "wb") as file:
        while True:
            file.write(bytes(1 << 20)); file.flush()
except OSError as caught:
    error = caught.strerror
say(error)
"""
    files = """
count = 0
try:
    while count < 100_000:
        open(f"/data/{count}", "x").close()
        count += 1
except OSError as caught:
    say(caught.strerror)
"""
    free = os.statvfs("/").f_bavail
    async with supervised() as supervisor:
        mallory = account("mallory", limits=limits(disk_bytes=1 << 20))
        assert await said(supervisor, attack if how == "one file" else files, account=mallory) == [
            "No space left on device"
        ]
        if how == "one file":
            assert status(supervisor, "mallory").disk_bytes == 1 << 20
            assert os.statvfs("/").f_bavail > free - 2**14
        assert await said(supervisor, "say(open('/data/f', 'wb').write(bytes(1 << 20)))") == [str(1 << 20)]


async def test_endless_output_is_a_bounded_log_of_printable_lines() -> None:
    attack = r"""
print("forged\x1b[2J\x07 entry", flush=True)
while True:
    print("x" * 500)
"""
    async with supervised() as supervisor:
        await supervisor.install(installation(beside=attack, account="mallory"))
        await until(lambda: any(line.number >= 600 for line in supervisor.output("mallory")))
        lines = supervisor.output("mallory")
        assert len(lines) == 500
        assert all(line.text.isprintable() for line in lines)
        assert await said(supervisor, "say('line\\n2026-01-01 root: \\x1b]0;owned\\x07')") == [
            r"line\n2026-01-01 root: \x1b]0;owned\x07"
        ]


async def test_neighbours_and_the_node_are_out_of_reach() -> None:
    async with supervised() as supervisor:
        await supervisor.install(installation())
        victim, node = status(supervisor).process, os.getpid()
        attack = f"""
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
for pid in ({victim}, {node}, 2, 4711):
    say(attempt(os.kill, pid, signal.SIGKILL))
    say(attempt(call, 101, 16, pid, 0, 0))
    say(attempt(os.setpriority, os.PRIO_PROCESS, pid, 19))
    say(attempt(call, 310, pid, 0, 0, 0, 0, 0))
    say(attempt(call, 434, pid, 0))
say(attempt(os.setpriority, os.PRIO_USER, 0, 19))
say(attempt(os.kill, -1, signal.SIGKILL))
"""
        lines = await said(supervisor, attack, account="mallory")
        assert set(lines) <= {"ESRCH", "EPERM"}, lines
        assert status(supervisor).process == victim
        assert os.getpriority(os.PRIO_PROCESS, victim) == 0
        assert await said(supervisor, "import os; os.kill(os.getpid(), 0); say('done')") == ["done"]


async def test_no_program_is_run() -> None:
    attack = """
import os, subprocess
say(attempt(os.execv, "/bin/sh", ["sh"]))
say(attempt(os.execv, os.__file__, ["x"]))
say(attempt(subprocess.run, ["true"]))
say(attempt(os.posix_spawn, "/bin/true", ["true"], {}))
open("/data/run", "w").write("#!/bin/sh")
os.chmod("/data/run", 0o755)
say(attempt(os.execv, "/data/run", ["run"]))
"""
    async with supervised() as supervisor:
        assert await said(supervisor, attack) == ["EPERM"] * 5


async def test_no_memory_becomes_code(tmp_path: Path) -> None:
    library = next(Path(os.__file__).parent.glob("lib-dynload/_*test*.so"), None)
    attack = f"""
import ctypes, mmap
say(attempt(mmap.mmap, -1, 4096, 2, 7))
say(attempt(mmap.mmap, -1, 4096, 34, 5))
libc = ctypes.CDLL(None, use_errno=True)
def protect():
    place = mmap.mmap(-1, 4096)
    if libc.mprotect(ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(place))), 4096, 5):
        raise OSError(ctypes.get_errno(), "")
say(attempt(protect))
say(attempt(ctypes.CDLL, {str(library)!r}))
say(attempt(lambda: ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)))
"""
    async with supervised() as supervisor:
        lines = await said(supervisor, attack)
        assert lines[:3] == ["EPERM"] * 3
        assert "done" not in lines[3:], lines
        twin = "import mmap; place = mmap.mmap(-1, 4096); place[0] = 7; say(place[0])"
        assert await said(supervisor, twin) == ["7"]


CALLS = {
    "unshare": (272, 0x10000000),
    "setns": (308, 3, 0),
    "mount": (165, 0, 0, 0, 0, 0),
    "umount2": (166, 0, 0),
    "pivot_root": (155, 0, 0),
    "chroot": (161, 0),
    "setuid": (105, 0),
    "setresuid": (117, 0, 0, 0),
    "setgroups": (116, 0, 0),
    "keyctl": (250, 0, 0, 0, 0, 0),
    "add_key": (248, 0, 0, 0, 0, 0),
    "request_key": (249, 0, 0, 0, 0),
    "bpf": (321, 0, 0, 0),
    "io_uring_setup": (425, 1, 0),
    "io_uring_enter": (426, 0, 0, 0, 0, 0),
    "io_uring_register": (427, 0, 0, 0, 0),
    "userfaultfd": (323, 0),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "open_by_handle_at": (304, 0, 0, 0),
    "fsopen": (430, 0, 0),
    "move_mount": (429, 0, 0, 0, 0, 0),
    "mount_setattr": (442, 0, 0, 0, 0, 0),
    "init_module": (175, 0, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "personality": (135, 0x0400000),
    "quotactl": (179, 0, 0, 0, 0),
    "swapon": (167, 0, 0),
    "reboot": (169, 0, 0, 0, 0),
    "settimeofday": (164, 0, 0),
    "clock_settime": (227, 0, 0),
    "sethostname": (170, 0, 0),
    "memfd_create": (319, 0, 0),
    "clone with namespaces": (56, 0x10000000, 0, 0, 0, 0),
    "kcmp": (312, 1, 1, 0, 0, 0),
    "shmget": (29, 0, 4096, 0o1777),
    "prctl that clears the signal": (157, 1, 0, 0, 0, 0),
    "tiocsti": (16, 0, 0x5412, 0),
    "tiocsti with a high half": (16, 0, 0x100005412, 0),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of calls of that machine")
async def test_calls_that_open_the_kernel_are_refused() -> None:
    attack = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(*numbers):
    if libc.syscall(*map(ctypes.c_long, numbers)) < 0:
        raise OSError(ctypes.get_errno(), "")
for name, numbers in {CALLS!r}.items():
    say(name + ": " + attempt(call, *numbers))
say(attempt(call, 435, 0, 88))
say(attempt(call, 451 + 4, 0))
"""
    async with supervised() as supervisor:
        lines = await said(supervisor, attack)
        assert lines == [*(f"{name}: EPERM" for name in CALLS), "ENOSYS", "ENOSYS"]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 calls are of that machine")
@pytest.mark.parametrize("number", [0x40000000 + 39, 0x40000000 + 520])
async def test_calls_of_another_form_end_the_box(number: int) -> None:
    attack = f"import ctypes; ctypes.CDLL(None).syscall(ctypes.c_long({number}))"
    async with supervised() as supervisor:
        with pytest.raises(UnreachableError):
            await supervisor.install(installation(attack))
        assert "signal 31" in (await next_event(supervisor, Died)).why


async def test_a_module_that_never_answers_is_ended_from_outside() -> None:
    """It has the interpreter to itself: nothing within the box could end it."""
    attack = "import re; re.match('(a+)+$', 'a' * 64 + 'b')"
    async with supervised(config(pong_s=0.5, load_s=30.0)) as supervisor:
        with pytest.raises(UnreachableError, match=r"it has not answered for 0\.5 s"):
            await supervisor.install(installation(attack, account="mallory"))
        assert await said(supervisor, "say('here')") == ["here"]


async def test_rubbish_on_the_control_socket_ends_the_box() -> None:
    attack = "\nfor _ in range(20): control.send(b'\\xc1rubbish')"
    async with supervised() as supervisor:
        with pytest.raises(UnreachableError):
            await supervisor.install(installation(attack + "\nimport time; time.sleep(30)", account="mallory"))
        assert (await next_event(supervisor, Died)).why == "what it says makes no sense"


async def test_a_container_speaks_only_for_its_own_modules() -> None:
    attack = """
from netserv.container.messages import Failed, Metrics
for module in range(100):
    send(control, Failed(module=module, where="process", text="not me"))
    send(control, Metrics(module=module, counters={"owned": 1.0}))
"""
    async with supervised() as supervisor:
        await supervisor.install(installation("say('mine')"))
        await supervisor.install(installation("from netserv.container.frames import send" + attack, account="mallory"))
        (module,) = status(supervisor).modules
        assert (module.strikes, module.counters) == (0, {})
