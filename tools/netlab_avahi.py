"""Avahi on a host of the laboratory, with a D-Bus of its own: announce, look, and crash."""

import itertools
import re
import shlex
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from tools.netlab_process import LabError, Process, wait_until

if TYPE_CHECKING:
    from tools.netlab_host import Host

READY_S: Final = 20.0
"Longest wait for Avahi: it needs 1 s on an idle machine, and a laboratory of ten starts ten at once."
PUBLISH_S: Final = 15.0
"Longest wait for an announcement: probing takes 0.75 s (RFC 6762 section 8.1), each conflict as long again."
BROWSE_S: Final = 20.0
LIMITS: Final = (4_096, 1_024)
"Records in the cache of an interface, and objects of a client, as resolvers are: Avahi's defaults."

_BUS_CONFIG: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true"/><allow receive_requested_reply="true"/>
    <allow receive_type="method_call"/><allow receive_type="signal"/>
    <allow receive_type="method_return"/><allow receive_type="error"/>
  </policy>
</busconfig>
"""
_AVAHI_CONFIG: Final = """[server]
host-name={host_name}
use-ipv4=yes
use-ipv6=yes
allow-interfaces={interfaces}
enable-dbus=yes
cache-entries-max={limits[0]}
objects-per-client-max={limits[1]}
disallow-other-stacks=no
[wide-area]
enable-wide-area=no
[publish]
publish-hinfo=no
publish-workstation=no
[reflector]
enable-reflector={reflects}
"""
# Avahi's /run and /etc/avahi/services are its own: the mounts live in the namespace of this one process.
_AVAHI_SCRIPT: Final = (
    "mount -t tmpfs tmpfs /run && mkdir -p /run/avahi-daemon && mount --bind {services} /etc/avahi/services && "
    "exec avahi-daemon -f {config} --no-drop-root --no-chroot --no-rlimits --no-proc-title"
)
_ESCAPE: Final = re.compile(rb"\\([0-9]{3}|.)", re.DOTALL)
_QUOTED: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_FIELDS: Final = 10


def decode_label(text: str) -> str:
    r"""Undo Avahi's escapes in a label: `\195\164` is one byte per number, `\.` the character itself."""
    raw = _ESCAPE.sub(_unescape, text.encode(errors="surrogateescape"))
    return raw.decode(errors="surrogateescape")


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code) & 0xFF]) if len(code) == 3 else code


def decode_txt(text: str) -> tuple[bytes, ...]:
    r"""Read the TXT strings that `avahi-browse -p` prints: last one first, quoted, with `\"`, `\\` and `\DDD`."""
    raw = text.encode(errors="surrogateescape")
    return tuple(_ESCAPE.sub(_unescape, part) for part in reversed(_QUOTED.findall(raw)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowsedService:
    """One resolved line of `avahi-browse -rp`."""

    interface: str
    protocol: str
    "`IPv4` or `IPv6`: over which of them the answer came."
    instance: str
    type: str
    domain: str
    host: str
    address: str
    port: int
    txt: str
    "As Avahi prints it; `txt_strings` are the bytes."

    @property
    def txt_strings(self) -> tuple[bytes, ...]:
        """The TXT strings in the order of the packet, which `avahi-browse` turns round."""
        return decode_txt(self.txt)


def parse_line(line: str) -> tuple[str, BrowsedService] | None:
    """Read one line of `avahi-browse -p`: its event (`+`, `-`, `=`) and the service; nothing for other lines."""
    fields = line.split(";", _FIELDS - 1)
    if fields[0] not in ("+", "-", "=") or len(fields) < 6:
        return None
    event, interface, protocol, name, kind, domain, *more = fields
    host, address, port, txt = (more + [""] * 4)[:4]
    service = BrowsedService(
        interface=interface,
        protocol=protocol,
        instance=decode_label(name),
        type=kind,
        domain=domain,
        host=host,
        address=address,
        port=int(port or 0),
        txt=txt,
    )
    return event, service


class Publication:
    """One announced service; `withdraw` makes Avahi say goodbye."""

    def __init__(self, process: Process, established: re.Pattern[str], withdraw: Callable[[], None]) -> None:
        self._process, self._established, self._withdraw = process, established, withdraw

    @property
    def name(self) -> str:
        """The name it has now: another one than asked for after a conflict."""
        names = self._established.findall(self._process.log)
        return str(names[-1])

    def withdraw(self) -> None:
        """Take the service back."""
        self._withdraw()


class Watch:
    """`avahi-browse` in the background: sees changes as they come, where `browse` takes a second a look."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def services(self) -> list[BrowsedService]:
        """Return what is resolved and not removed at this moment."""
        present: dict[tuple[str, str, str, str], BrowsedService] = {}
        complete = self.process.log.rpartition("\n")[0]  # a long line is written, and read, in parts
        for event, service in filter(None, map(parse_line, complete.splitlines())):
            key = (service.interface, service.protocol, service.instance, service.type)
            if event == "=":
                present[key] = service
            elif event == "-":
                present.pop(key, None)
        return list(present.values())

    def wait_for(self, condition: Callable[[list[BrowsedService]], bool], timeout_s: float) -> float:
        """Wait until the services meet a condition; return the seconds it took.

        Raises:
            LabError: the time is up; the text has what was seen.
        """
        started = time.monotonic()
        wait_until(lambda: condition(self.services()), timeout_s, "such services", lambda: f":\n{self.process.log}")
        return time.monotonic() - started

    def stop(self) -> None:
        """End it."""
        self.process.stop()


class Avahi:
    """The Avahi daemon of a host; the constructor starts it, `wait_ready` waits."""

    def __init__(
        self,
        host: "Host",
        *,
        loopback: bool,
        host_name: str,
        reflects: bool = False,
        limits: tuple[int, int] = LIMITS,
    ) -> None:
        self._host = host
        self._numbers = itertools.count(1)
        self._services = host.directory / "services"
        self._services.mkdir(exist_ok=True)
        self._start_bus(host.directory / "bus")
        config = host.directory / "avahi.conf"
        interfaces = [*host.interfaces, "lo"] if loopback else [*host.interfaces]
        values = {"interfaces": ",".join(interfaces), "reflects": "yes" if reflects else "no"}
        config.write_text(_AVAHI_CONFIG.format(host_name=host_name, limits=limits, **values))
        script = _AVAHI_SCRIPT.format(services=shlex.quote(str(self._services)), config=shlex.quote(str(config)))
        self.process = host.popen("sh", "-c", script, log=_free_name(host.directory, "avahi"))

    def wait_ready(self) -> None:
        """Wait until the daemon has claimed its host name and serves.

        Raises:
            LabError: it does not start; the text has its log.
        """
        self.process.wait_for("Server startup complete", READY_S)

    def _start_bus(self, path: Path) -> None:
        if _answers(path):
            return  # an Avahi that comes back finds the bus of its predecessor
        config = path.with_suffix(".conf")
        config.write_text(_BUS_CONFIG.format(path=path))
        bus = self._host.popen("dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", log="bus.log")
        wait_until(lambda: _answers(path), READY_S, "D-Bus", lambda: f":\n{bus.log}")

    @property
    def log(self) -> str:
        """What the daemon has written so far."""
        return self.process.log

    def host_name(self) -> str:
        """Return the first label of the name that Avahi uses now: another one after a conflict."""
        method = "org.freedesktop.Avahi.Server.GetHostName"
        words = ("dbus-send", "--system", "--print-reply=literal", "--dest=org.freedesktop.Avahi", "/", method)
        return self._host.run(*words).stdout.strip()

    def publish(
        self,
        instance: str,
        service_type: str,
        port: int,
        txt: Sequence[str | bytes] = (),
        subtypes: Sequence[str] = (),
        *,
        host: str | None = None,
    ) -> Publication:
        """Announce a service and wait until probing is over.

        Args:
            instance: its name; Avahi takes another one on a conflict (see `log`).
            service_type: `_daap._tcp`.
            port: 1 to 65535.
            txt: TXT strings, none of them empty; text is sent as UTF-8.
            subtypes: full subtypes, `_color._sub._ipp._tcp`.
            host: another host's name (see `publish_address`), this one's by default.

        Raises:
            LabError: Avahi refuses it.
        """
        raw = [text.encode() if isinstance(text, str) else text for text in txt]
        if any(b"\0" in text for text in raw):
            return self._publish_file(instance, service_type, port, raw, subtypes, host=host)
        words = ["avahi-publish", "-s", *(f"--subtype={subtype}" for subtype in subtypes)]
        words += [f"--host={host}"] if host else []
        strings = [text.decode(errors="surrogateescape") for text in raw]  # back to the same bytes in `argv`
        return self._publish_process(*words, "--", instance, service_type, str(port), *strings)

    def publish_address(self, host: str, address: str) -> Publication:
        """Announce the address of another host (`printer.local`), without its reverse record."""
        return self._publish_process("avahi-publish", "-a", "-R", host, address)

    def _publish_process(self, *words: str) -> Publication:
        process = self._host.popen(*words)
        process.wait_for("Established under name", PUBLISH_S)

        def withdraw() -> None:
            process.stop()

        return Publication(process, re.compile(r"Established under name '(.*)'"), withdraw)

    def _publish_file(
        self,
        instance: str,
        service_type: str,
        port: int,
        txt: Sequence[bytes],
        subtypes: Sequence[str],
        *,
        host: str | None,
    ) -> Publication:
        """Announce by a static service file: the only way to TXT strings with a zero byte."""
        lines = [f"<type>{escape(service_type)}</type>", *(f"<subtype>{escape(name)}</subtype>" for name in subtypes)]
        lines += [f"<host-name>{escape(host)}</host-name>"] if host else []
        lines.append(f"<port>{port}</port>")
        for text in txt:
            key, equals, value = text.partition(b"=")
            if not equals or b"\0" in key:
                raise LabError(f"TXT string {text!r}: Avahi takes a zero byte only in the value of key=value")
            lines.append(f'<txt-record value-format="binary-hex">{escape(key.decode())}={value.hex()}</txt-record>')
        number = next(self._numbers)
        path = self._services / f"{number}.service"
        content = (
            '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">'
            f"<service-group><name>{escape(instance)}</name><service>{''.join(lines)}</service></service-group>"
        )
        draft = self._host.directory / f"{number}.draft"
        draft.write_text(content)
        draft.rename(path)  # Avahi watches the directory and must not read half a file
        said = rf"\(/etc/avahi/services/{path.name}\) successfully established"
        self.process.wait_for(said.replace("\\", ""), PUBLISH_S)
        return Publication(self.process, re.compile(rf'Service "(.*)" {said}'), path.unlink)

    def browse(self, service_type: str) -> list[BrowsedService]:
        """Return what `avahi-browse` resolves now: a service per interface and protocol. Takes about a second."""
        words = "avahi-browse", "-rptk", service_type
        try:
            lines = self._host.run(*words, timeout=BROWSE_S).stdout.splitlines()
        except LabError:  # it waits for ever for a service that goes, or changes, while it is being resolved
            lines = self._host.run(*words, timeout=BROWSE_S).stdout.splitlines()
        return [service for event, service in filter(None, map(parse_line, lines)) if event == "="]

    def browse_raw(self, service_type: str) -> str:
        """Return what `avahi-browse -rpt` prints."""
        return self._host.run("avahi-browse", "-rpt", service_type, timeout=BROWSE_S).stdout

    def watch(self, service_type: str) -> Watch:
        """Start looking for changes in the background."""
        return Watch(self._host.popen("avahi-browse", "-rpk", service_type))

    def kill(self) -> None:
        """Let the daemon crash (`kill -9`): no goodbye is said."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End the daemon with its goodbyes."""
        self.process.stop()


def _answers(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _free_name(directory: Path, stem: str) -> str:
    """Return a log name that no earlier daemon of this host used: its 'complete' must not count for the next one."""
    return next(name for n in itertools.count(1) if not (directory / (name := f"{stem}-{n}.log")).exists())
