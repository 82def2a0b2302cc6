"""A path of two network namespaces, without names: with the last of their processes the kernel takes them away.

The ends are in one of them, the router is in the other, joined by two pairs of veth. All of their processes are on one
processor; or the ends are on another one than the router, with threads of the kernel that take what comes in there.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec
import trio

from netserv.bench import orders, traffic
from netserv.errors import SystemRefusedError

PROGRAMS: Final = {
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "taskset": "util-linux",
    "unshare": "util-linux",
}
"That are started here, each with its Debian package."
ANSWER_S: Final = 120.0
"Longest wait for an answer: a hundred containers are started in 4 s, on a busy machine in 20."
END_S: Final = 30.0
"Longest wait for a node to end its containers."
RULES: Final = ("-t mangle -A PREROUTING -p tcp --dport 9 -j ACCEPT", "-t filter -A FORWARD -p tcp --dport 9 -j DROP")
"Of configuration 2: netfilter has something to look at, and lets all pass."
_ROUTERS: Final = ("r0", "r1")
"Interfaces of the router."
_OUTSIDE_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

_A = TypeVar("_A", bound=orders.Answer)


class Processors(NamedTuple):
    """Where the ends of a path are, and its router."""

    ends: int
    router: int


def together() -> Processors:
    """All of it on one processor."""
    return Processors(processor(), processor())


def apart() -> Processors:
    """Two of those that may be used.

    Raises:
        SystemRefusedError: there is one only.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemRefusedError(
            "throughput needs a processor for the sender and one for the router, and this process may use one only:"
            " run it on a machine of two, or allow it two with taskset"
        )
    return Processors(ends=usable[-2], router=usable[-1])


def processor() -> int:
    """The one that all is measured on where it is together."""
    return max(os.sched_getaffinity(0))


class Helper:
    """A process that does as it is told, line by line."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self.pid = process.pid
        self._rest = b""

    async def ask(self, order: orders.Order, kind: type[_A], lasts_s: float = 0.0) -> _A:
        """Have it do something.

        Args:
            order: what to do.
            kind: of the answer.
            lasts_s: how long that is meant to last; twice as long is no fault.

        Raises:
            SystemRefusedError: it cannot, or has ended.
        """
        line = b""
        try:
            with trio.fail_after(ANSWER_S + 2 * lasts_s):
                line = await self.echo(msgspec.json.encode(order) + b"\n")
        except trio.TooSlowError as error:
            raise SystemRefusedError("a process of the measurement does not answer") from error
        answer = orders.answer_decoder.decode(line)
        if isinstance(answer, orders.Refused):
            raise SystemRefusedError(answer.reason)
        if not isinstance(answer, kind):
            raise SystemRefusedError(f"a process of the measurement said {answer}")
        return answer

    async def echo(self, line: bytes) -> bytes:
        """Say a line, and hear one.

        Raises:
            SystemRefusedError: it has ended.
        """
        said, heard = self._process.stdin, self._process.stdout
        if said is None or heard is None:
            raise AssertionError("it was started with pipes")
        ended = "a process of the measurement has ended by itself; its last words are above"
        try:
            await said.send_all(line)
        except trio.BrokenResourceError as error:
            raise SystemRefusedError(ended) from error
        while b"\n" not in self._rest:
            data = await heard.receive_some()
            if not data:
                raise SystemRefusedError(ended)
            self._rest += data
        found, _, self._rest = self._rest.partition(b"\n")
        return found

    async def aclose(self) -> None:
        """Have it end and clean up."""
        with trio.CancelScope(shield=True):
            # First: one that has seen its input end cleans up already, and would be ended by a signal then.
            self._process.send_signal(signal.SIGTERM)
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    await stream.aclose()
            with trio.move_on_after(END_S):
                await self._process.wait()
            self._process.kill()  # does nothing to one that has ended
            await self._process.wait()


@asynccontextmanager
async def helper(where: int, *words: str) -> AsyncIterator[Helper]:
    """A process in a network namespace of its own on a processor, out of reach of the terminal's Ctrl-C.

    Raises:
        SystemRefusedError: it does not start.
    """
    try:
        process = await trio.lowlevel.open_process(
            ["unshare", "--net", "taskset", "-c", str(where), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=_environment(),
        )
    except OSError as error:
        raise SystemRefusedError(f"a process of the measurement cannot be started: {error}") from error
    found = Helper(process)
    try:
        yield found
    finally:
        await found.aclose()


def python(module: str) -> tuple[str, ...]:
    """The words that run a module of this package."""
    return sys.executable, "-P", "-m", module


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": _OUTSIDE_PATH}


async def run(words: Sequence[str], stdin: str = "") -> None:
    """Run a program to its end.

    Raises:
        SystemRefusedError: it fails.
    """
    done = await trio.run_process(
        list(words), stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False, env=_environment()
    )
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise SystemRefusedError(f"{' '.join(words)}: {said or f'status {done.returncode}'}")


def check_machine() -> None:
    """See that a path can be built here.

    Raises:
        SystemRefusedError: the text says what to do.
    """
    if os.geteuid():
        raise SystemRefusedError("network namespaces, containers and BPF need root: run `sudo netserv bench`")
    missing = {package for name, package in PROGRAMS.items() if shutil.which(name, path=_OUTSIDE_PATH) is None}
    if missing:
        raise SystemRefusedError(f"programs are missing; install {' '.join(sorted(missing))}")


class Scene:
    """The ends, and the router between them.

    Args:
        ends: their process.
        router: the process in the router's namespace.
        where: they are.
    """

    def __init__(self, ends: Helper, router: Helper, where: Processors) -> None:
        self.ends, self.router, self._where = ends, router, where

    async def build(self, *, ruled: bool) -> None:
        """Join the namespaces.

        Raises:
            SystemRefusedError: a program fails.
        """
        names = traffic.ENDS
        pairs = [
            f"link add {far} address {names[far]} type veth"
            f" peer name {near} address {names[near]} netns {self.ends.pid}"
            for near, far in (("s0", "r0"), ("d0", "r1"))
        ]
        addresses = [
            "address add 10.1.0.1/24 dev r0",
            "address add 10.2.0.1/24 dev r1",
            f"neighbour add {traffic.SENDER} lladdr {traffic.NOBODY} dev r0",
            f"neighbour add {traffic.RECEIVER} lladdr {traffic.NOBODY} dev r1",
        ]
        await self._in(self.router, "sh", "-ec", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for place in (self.ends, self.router):
            await self._in(place, "sh", "-ec", "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
        await self._ip(self.router, [*pairs, "link set r0 up", "link set r1 up", *addresses])
        await self._ip(self.ends, ["link set s0 up", "link set d0 up"])
        for place, ends in ((self.router, _ROUTERS), (self.ends, ("s0", "d0"))):
            await self._in(place, *python("netserv.bench.ethtool"), "gro", *ends)
        if self._where.ends != self._where.router:
            await self._part()
        if ruled:
            for rule in RULES:
                await self._in(self.router, "iptables", "-w", *rule.split())

    async def _part(self) -> None:
        """Have threads of the kernel take what comes in to the router, on its processor.

        Else the processor that sends a packet over a veth treats it at the other end as well.
        """
        before = pollers()
        words = " && ".join(f"echo 1 > /sys/class/net/{name}/threaded" for name in _ROUTERS)
        await self._in(self.router, "unshare", "--mount", "sh", "-ec", f"mount -t sysfs sysfs /sys; {words}")
        for thread in pollers() - before:
            os.sched_setaffinity(thread, {self._where.router})

    async def _ip(self, place: Helper, lines: Sequence[str]) -> None:
        await self._in(place, "ip", "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

    async def _in(self, place: Helper, *words: str, stdin: str = "") -> None:
        await run(["nsenter", f"--target={place.pid}", "--net", *words], stdin)


@asynccontextmanager
async def plain_scene(where: Processors, *, ruled: bool) -> AsyncIterator[Scene]:
    """A path through a router that is nothing else.

    Raises:
        SystemRefusedError: this machine does not give it.
    """
    async with (
        helper(where.ends, *python("netserv.bench.ends")) as ends,
        helper(where.router, "cat") as router,
    ):
        await router.echo(b"hello\n")
        await ends.ask(orders.Hello(), orders.Done)
        scene = Scene(ends, router, where)
        await scene.build(ruled=ruled)
        yield scene


@asynccontextmanager
async def node_scene(where: Processors) -> AsyncIterator[Scene]:
    """A path through a node, which is yet to be opened.

    Raises:
        SystemRefusedError: this machine does not give it.
    """
    async with (
        helper(where.ends, *python("netserv.bench.ends")) as ends,
        helper(where.router, *python("netserv.bench.node")) as router,
    ):
        for each in (ends, router):
            await each.ask(orders.Hello(), orders.Done)
        scene = Scene(ends, router, where)
        await scene.build(ruled=True)
        yield scene


def run_s(process: int) -> float:
    """Processor time of a process with all its threads."""
    total = 0
    with suppress(FileNotFoundError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(FileNotFoundError):
                total += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def softirqs() -> int:
    """The kernel's thread that treats packets on the processor that is measured on; 0 where it is not to be seen."""
    return next(iter(_threads(f"ksoftirqd/{processor()}\n")), 0)


def pollers() -> set[int]:
    """The kernel's threads that take what comes in to routers, in whatever namespace."""
    return {thread for name in _ROUTERS for thread in _threads(f"napi/{name}-")}


def _threads(begin: str) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if path.read_text(encoding="ascii", errors="replace").startswith(begin):
                found.add(int(path.parent.name))
    return found
