"""Puts the rules of an interceptor in place and takes every one away again.

All rules stand in one chain of our own, which one rule of mangle/PREROUTING jumps to. Their comment is the record of
what was installed: it lives and dies with the rules, is of the network namespace that they are of, and is still there
after a `kill -9`, for the next start to clean up by. Who may install is decided by an abstract Unix socket, which is of
the network namespace too and which the kernel frees when its owner is gone.
"""

import errno
import logging
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from netserv.errors import SystemRefusedError
from netserv.signaling.gist.addresses import GIST_PORT
from netserv.signaling.transport import xtables
from netserv.signaling.transport.admission import admitted
from netserv.signaling.transport.intercept import InterceptConfig

log = logging.getLogger(__name__)

CHAIN: Final = "NETSERV-GIST"
"What passes and is caught."
GUARD: Final = "NETSERV-GUARD"
"What is for this node itself."
LOCK: Final = "\0netserv.gist.intercept"
"Name of the abstract Unix socket that says who catches in this network namespace."
MAGIC: Final = "0x4E04BDA5"
_JUMP: Final = (
    f"! -i lo -p udp -m udp --dport {GIST_PORT}"
    " -m addrtype --dst-type UNICAST -m addrtype ! --dst-type LOCAL"  # own addresses have a socket of their own
)
_ARRIVAL: Final = f"! -i lo -p udp -m udp --dport {GIST_PORT} -m addrtype --dst-type LOCAL"
_RECORD: Final = re.compile(r"netserv gist (\w+) pid (\d+) table (\d+) mark (0x[0-9a-f]+)")
_PROC_NET: Final = Path("/proc/sys/net")


class ClaimedError(SystemRefusedError):
    """Another process catches in this network namespace."""


class FamilyRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is installed for one IP version."""

    version: int
    rules: tuple[str, ...]
    "Of the chain, in the words of iptables-restore."
    limited: tuple[str, ...]
    "The same with limits for floods, which not every kernel knows."
    guard: tuple[str, ...]
    "The limits for what comes to this node itself."
    routed: bool
    "Whether caught packets need the routing rule that brings them to this machine."

    @property
    def program(self) -> str:
        """The program that knows this version."""
        return xtables.program(self.version)


class Record(msgspec.Struct, frozen=True):
    """What the comment of a rule tells."""

    method: str
    pid: int
    table: int
    mark: int


def u32_tests(version: int, nslp_ids: Sequence[int]) -> tuple[str, ...]:
    """Tests of the `u32` match for the magic number, the C flag and the hosted NSLPIDs; a packet passes one of them.

    The 17 bits tested last are the NSLPID and the C flag behind it. IPv6 has one test for UDP right after the header
    and one for the hop-by-hop header of 8 bytes that a Router Alert needs; with more headers a Query passes unseen.
    """
    wanted = ",".join(f"0x{nslp_id << 1 | 1:X}" for nslp_id in nslp_ids)
    if version == 4:
        udp = "0>>22&0x3C@"
        return (f"{udp}8={MAGIC}&&{udp}16>>15={wanted}",)
    return (
        f"4>>8&0xFF=17&&48={MAGIC}&&56>>15={wanted}",
        f"4>>8&0xFF=0&&40>>16=0x1100&&56={MAGIC}&&64>>15={wanted}",
    )


def tproxy_rules(version: int, config: InterceptConfig, port: int, *, pid: int) -> FamilyRules:
    """Rules that hand packets to a local socket.

    The match `socket` looks for the GIST port of this node: when the node is gone, even by `kill -9`, it fails, and
    packets go their way instead of into nothing.
    """
    here = "127.0.0.1" if version == 4 else "::1"
    target = f"TPROXY --on-ip {here} --on-port {port} --tproxy-mark {config.mark:#x}/0xffffffff"
    return _family(version, config, "tproxy", "-m socket --transparent --nowildcard ", target, pid)


def nfqueue_rules(version: int, config: InterceptConfig, *, pid: int) -> FamilyRules:
    """Rules that hand packets to a queue; without a reader they go their way."""
    return _family(version, config, "nfqueue", "", f"NFQUEUE --queue-num {config.queue} --queue-bypass", pid)


def _family(version: int, config: InterceptConfig, method: str, gate: str, target: str, pid: int) -> FamilyRules:
    record = f"netserv gist {method} pid {pid} table {config.table} mark {config.mark:#x}"
    tests = [f'-p udp -m u32 --u32 "{test}" {gate}' for test in u32_tests(version, config.nslp_ids)]
    end = f'-m comment --comment "{record}" -j {target}'
    limits = tuple(admitted(version, config, "passing")) if config.newcomers_per_s else ()
    limited = [f"{test}{rest}" for test in tests for rest in (*(f"{limit}{end}" for limit in limits), "-j DROP")]
    guard = (*(f"{limit}-j RETURN" for limit in admitted(version, config, "own")), "-j DROP")
    return FamilyRules(
        version=version,
        rules=tuple(f"{test}{end}" for test in tests),
        limited=tuple(limited) if limits else (),
        guard=guard if limits else (),
        routed=method == "tproxy",
    )


def read_record(listing: str) -> Record | None:
    """Find the record in what `iptables -S` lists."""
    found = _RECORD.search(listing)
    return None if found is None else Record(found[1], int(found[2]), int(found[3]), int(found[4], 16))


@contextmanager
def claim() -> Iterator[None]:
    """Be the one that catches in this network namespace, until the end of the `with` statement.

    Raises:
        ClaimedError: another process does; the text names it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as lock:
        try:
            lock.bind(LOCK)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ClaimedError(
                    f"{_owner()} catches GIST packets here already: a machine has one node; stop that one first"
                ) from error
            raise
        yield


def _owner() -> str:
    for version in (4, 6):
        try:
            record = read_record(_list(version))
        except SystemRefusedError:
            continue
        if record is not None:
            try:
                words = Path(f"/proc/{record.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                words = ""
            return f"process {record.pid}{f' ({words.strip()})' if words else ''}"
    return "another process"


def install(families: Sequence[FamilyRules], config: InterceptConfig) -> dict[int, str]:
    """Put rules in place, after removing what an earlier process has left.

    Returns:
        IP versions that this machine does not give, each with the reason; never all of them.

    Raises:
        SystemRefusedError: IPv4 is not given, or a routing table is in use; nothing is left in place.
    """
    refused: dict[int, str] = {}
    for family in families:
        try:
            remove((family.version,), config)
            _install(family, config)
        except SystemRefusedError as error:
            remove([each.version for each in families] if family.version == 4 else [family.version], config)
            if family.version == 4:
                raise
            refused[family.version] = str(error)
    return refused


def _install(family: FamilyRules, config: InterceptConfig) -> None:
    # The chain comes first, since it carries the record, and the jump last: no packet meets half of the rules.
    limited = _restore_limited(family)
    if not limited:
        _restore(family.version, f":{CHAIN} - [0:0]", *(f"-A {CHAIN} {rule}" for rule in family.rules))
    if family.routed:
        if taken := _ip(family.version, "route", "show", "table", str(config.table), check=False).strip():
            raise SystemRefusedError(
                f"routing table {config.table} is in use ({taken.splitlines()[0].strip()}): choose another one"
            )
        _ip(family.version, *_rule("add", config.table, config.mark))
        _ip(family.version, *_route("add", config.table))
    guard = [f"-I INPUT {_ARRIVAL} -j {GUARD}"] if limited else []
    _restore(family.version, f"-I PREROUTING {_JUMP} -j {CHAIN}", *guard)


def _restore_limited(family: FamilyRules) -> bool:
    """Put both chains with their limits in place; False where that is not wanted, or the kernel does not know them."""
    if not family.limited:
        return False
    caught = [f"-A {CHAIN} {rule}" for rule in family.limited]
    own = [f"-A {GUARD} {rule}" for rule in family.guard]
    try:
        _restore(family.version, f":{CHAIN} - [0:0]", f":{GUARD} - [0:0]", *caught, *own)
    except SystemRefusedError as error:
        log.info("floods of IPv%d are not held back by the kernel: %s", family.version, error)
        return False
    return True


def remove(versions: Sequence[int], config: InterceptConfig) -> None:
    """Remove all rules of ours, of whatever process; none there is fine.

    A failure is logged, and the rest is removed all the same: the next start tries again.
    """
    for version in versions:
        try:
            listing = _list(version)
        except SystemRefusedError as error:
            log.debug("no rules of IPv%d to remove: %s", version, error)
            continue
        ours = (f"-j {CHAIN}", f"-j {GUARD}")
        jumps = [line.replace("-A ", "-D ", 1) for line in listing.splitlines() if line.endswith(ours)]
        if jumps:
            _attempt(_restore, version, *jumps)
        record = read_record(listing)
        _attempt(_unroute, version, config.table, config.mark)
        if record is not None and (record.table, record.mark) != (config.table, config.mark):
            _attempt(_unroute, version, record.table, record.mark)
        for chain in (CHAIN, GUARD):
            if f"-N {chain}" in listing.splitlines():
                _attempt(_restore, version, f"-F {chain}", f"-X {chain}")


def _attempt(step: Callable[..., object], version: int, *arguments: str | int) -> None:
    try:
        step(version, *arguments)
    except SystemRefusedError as error:
        log.warning("a rule of IPv%d is left behind: %s", version, error)


def _unroute(version: int, table: int, mark: int) -> None:
    # The rule is what shows that the table is ours, so it goes last.
    if f"fwmark {mark:#x} lookup {table}" in " ".join(_ip(version, "rule", "show").split()):
        _ip(version, *_route("del", table), check=False)
        _ip(version, *_rule("del", table, mark))


def _rule(verb: str, table: int, mark: int) -> list[str]:
    return ["rule", verb, "pref", str(table), "fwmark", f"{mark:#x}/0xffffffff", "lookup", str(table)]


def _route(verb: str, table: int) -> list[str]:
    return ["route", verb, "local", "default", "dev", "lo", "table", str(table)]


def warnings(versions: Sequence[int]) -> tuple[str, ...]:
    """What of this machine's settings keeps it from being a node on paths."""
    paths = {4: "ipv4/ip_forward", 6: "ipv6/conf/all/forwarding"}
    return tuple(
        f"this machine does not forward IPv{version}, so no path leads over it: "
        f"sysctl net.{paths[version].replace('/', '.')}=1"
        for version in versions
        if _setting(paths[version]) == "0"
    )


def marks_spoil_sources() -> bool:
    """Whether marked packets are dropped as coming from an own address: the reverse path is looked up by their mark."""
    return any(_setting(f"ipv4/conf/{each.name}/src_valid_mark") == "1" for each in (_PROC_NET / "ipv4/conf").iterdir())


def _setting(path: str) -> str:
    try:
        return (_PROC_NET / path).read_text().strip()
    except OSError:
        return ""


def _list(version: int) -> str:
    return xtables.listing(version)


def _restore(version: int, *lines: str) -> None:
    xtables.restore(version, *lines)


def _ip(version: int, *words: str, check: bool = True) -> str:
    return xtables.run(["ip", f"-{version}", *words], check=check)
