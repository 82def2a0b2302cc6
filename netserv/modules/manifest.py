"""`module.toml`: what a bundle says of its module.

The constructors check, so that what comes from a file and what comes from a program meet the same rules.
"""

import re
import tomllib
from typing import Final, Literal, TypeAlias

import msgspec

from netserv.modules.errors import BundleError
from netserv.signaling.nslp.codes import NslpError
from netserv.signaling.nslp.values import Dependency, ModuleRef

Kind: TypeAlias = Literal["server", "packet", "both"]
FailurePolicy: TypeAlias = Literal["open", "closed", "reload"]
"""What happens to packets of a module that fails: they pass, they are dropped, or they pass while it is started again
after 1, 2, 4 .. 60 seconds."""

MANIFEST_NAME: Final = "module.toml"
MANIFEST_BYTES_MAX: Final = 16_384
"Of the file; one with every list full has a third of that."
LIST_MAX: Final = 32
"Entries of `requires`, `exports` and `ports` each: as many as one header of a SETUP may name."
DESCRIPTION_MAX: Final = 1_024
"Characters: a few lines for people."
ENTRY_MAX: Final = 255
SERVICE_NAME_MAX: Final = 128
PREMATCH_MAX: Final = 16
"Bytes: `NOTIFY sip:` and the like; the kernel compares them with each packet of the filter."
PREMATCHES_MAX: Final = 8
"Each of them is compared with each packet."
PREMATCH_OFFSET_MAX: Final = 255
"Bytes into the payload: a kind of message is told by its first bytes."

_ENTRY: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_SERVICE: Final = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*", re.ASCII)


class PortWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A port that a server module listens on, if the operator lets this publisher."""

    proto: Literal["tcp", "udp"]
    port: int

    def __post_init__(self) -> None:
        if self.proto not in {"tcp", "udp"} or not 1 <= self.port <= 65_535:
            raise BundleError(f"port {self.proto} {self.port}: tcp or udp, and 1 to 65535 are possible")


class Prematch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Only packets whose transport payload has these bytes there go to the module; others pass in the kernel."""

    offset: int
    data: bytes
    "At most `PREMATCH_MAX`."

    def __post_init__(self) -> None:
        if not 0 <= self.offset <= PREMATCH_OFFSET_MAX:
            raise BundleError(f"prematch: offset {self.offset} is not within 0..{PREMATCH_OFFSET_MAX}")
        if not 1 <= len(self.data) <= PREMATCH_MAX:
            raise BundleError(f"prematch: 1 to {PREMATCH_MAX} bytes can be compared, not {len(self.data)}")


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a bundle says of its module."""

    name: str
    "Dotted, `NetServ.apps.NetMonitor`."
    version: str
    entry: str
    "`package.module:Class` of its activator."
    kind: Kind
    description: str = ""
    requires: tuple[str, ...] = ()
    "Modules and blocks, `name` or `name>=1.2`."
    exports: tuple[str, ...] = ()
    "Services that modules of the same publisher may find."
    ports: tuple[PortWish, ...] = ()
    failure: FailurePolicy = "open"
    prematch: tuple[Prematch, ...] = ()
    "One of them is enough."

    def __post_init__(self) -> None:
        try:
            ModuleRef(self.name, self.version)
            needed = [dependency.name for dependency in self.dependencies]
        except NslpError as error:
            raise BundleError(str(error)) from None
        if len(self.entry) > ENTRY_MAX or _ENTRY.fullmatch(self.entry) is None:
            raise BundleError(f"entry {self.entry[:80]!r} is not package.module:Class")
        if len(self.description) > DESCRIPTION_MAX or not all(
            letter.isprintable() or letter == "\n" for letter in self.description
        ):
            raise BundleError(f"description: printable text of at most {DESCRIPTION_MAX} characters is possible")
        for service in self.exports:
            if len(service) > SERVICE_NAME_MAX or _SERVICE.fullmatch(service) is None:
                raise BundleError(f"exports: {service[:80]!r} is no name of a service: letters, digits, _ and -, dots")
        _check_list("requires", needed, LIST_MAX)
        _check_list("exports", self.exports, LIST_MAX)
        _check_list("ports", self.ports, LIST_MAX)
        _check_list("prematch", self.prematch, PREMATCHES_MAX)
        _check_kind(self, needed)

    @property
    def reference(self) -> str:
        """`name_version`, as requests name it."""
        return f"{self.name}_{self.version}"

    @property
    def entry_module(self) -> str:
        """The part of `entry` that is imported, dotted."""
        return self.entry.partition(":")[0]

    @property
    def entry_class(self) -> str:
        """The part of `entry` that is its activator."""
        return self.entry.partition(":")[2]

    @property
    def dependencies(self) -> tuple[Dependency, ...]:
        """`requires`, taken apart.

        Raises:
            NslpError: not of a manifest that is made already.
        """
        return tuple(_dependency(text) for text in self.requires)


class _PrematchText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A `[[prematch]]` as people write it: `text = "NOTIFY "` or `hex = "0001"`."""

    offset: int = 0
    text: str | None = None
    hex: str | None = None

    def data(self) -> bytes:
        if (self.text is None) == (self.hex is None):
            raise BundleError("prematch: give either text or hex")
        try:
            return self.text.encode() if self.text is not None else bytes.fromhex(self.hex or "")
        except ValueError:
            raise BundleError("prematch: hex is not of pairs of hex digits, or text is no text") from None


def read_manifest(data: bytes) -> Manifest:
    """The manifest of a `module.toml`.

    Raises:
        BundleError: it is none; the text says why.
    """
    if len(data) > MANIFEST_BYTES_MAX:
        raise BundleError(f"{MANIFEST_NAME}: more than {MANIFEST_BYTES_MAX} bytes")
    try:
        table = tomllib.loads(data.decode())
        if "prematch" in table:
            wishes = msgspec.convert(table["prematch"], tuple[_PrematchText, ...])
            table["prematch"] = [{"offset": wish.offset, "data": wish.data()} for wish in wishes]
        return msgspec.convert(table, Manifest)
    except BundleError as error:
        raise BundleError(f"{MANIFEST_NAME}: {error}") from None
    # ValueError: not UTF-8, not TOML, a number of thousands of digits, or other values than the manifest has;
    # RecursionError: lists in lists in lists.
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{MANIFEST_NAME}: {str(error)[:200]}") from None


def write_manifest(manifest: Manifest) -> bytes:
    """The `module.toml` of a manifest; reading it gives the same one."""
    lines = [f"{name} = {_quoted(getattr(manifest, name))}" for name in ("name", "version", "entry", "kind")]
    if manifest.description:
        lines.append(f"description = {_quoted(manifest.description)}")
    for name, words in (("requires", manifest.requires), ("exports", manifest.exports)):
        if words:
            lines.append(f"{name} = [{', '.join(_quoted(word) for word in words)}]")
    if manifest.ports:
        wishes = (f'{{ proto = "{wish.proto}", port = {wish.port} }}' for wish in manifest.ports)
        lines.append(f"ports = [{', '.join(wishes)}]")
    lines.append(f'failure = "{manifest.failure}"')
    for prematch in manifest.prematch:
        lines += ["", "[[prematch]]", f"offset = {prematch.offset}", _prematch_line(prematch.data)]
    return ("\n".join(lines) + "\n").encode()


def _prematch_line(data: bytes) -> str:
    if all(0x20 <= byte < 0x7F for byte in data):
        return f"text = {_quoted(data.decode())}"
    return f'hex = "{data.hex()}"'


def _quoted(text: str) -> str:
    """A basic string of TOML; a manifest has only printable characters and line ends."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _dependency(text: str) -> Dependency:
    name, relation, version = text.partition(">=")
    return Dependency(name, version if relation else None)


def _check_list(name: str, entries: list[str] | tuple[object, ...], most: int) -> None:
    if len(entries) > most:
        raise BundleError(f"{name} has more than {most} entries")
    if len(set(entries)) < len(entries):
        raise BundleError(f"{name} names one thing twice")


def _check_kind(manifest: Manifest, needed: list[str]) -> None:
    if manifest.kind not in {"server", "packet", "both"}:
        raise BundleError(f"kind {manifest.kind!r} is neither server, packet nor both")
    if manifest.failure not in {"open", "closed", "reload"}:
        raise BundleError(f"failure {manifest.failure!r} is neither open, closed nor reload")
    if manifest.kind == "packet" and manifest.ports:
        raise BundleError('a module of kind "packet" listens on no port; use kind "both"')
    if manifest.kind == "server" and manifest.prematch:
        raise BundleError('a module of kind "server" gets no packets, so prematch says nothing; use kind "both"')
    if manifest.name in needed:
        raise BundleError("requires names the module itself")
