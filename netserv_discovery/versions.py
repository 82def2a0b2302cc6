"""Names and versions of blocks and modules, and ranges of versions, `ffmpeg>=5,<7`."""

import re
from typing import Final

import msgspec

from netserv_discovery.errors import LocalProtocolError

NAME_MAX: Final = 128
"Characters, as in the requests of signalling."
BOUNDS_MAX: Final = 4
"Of one range; two say all, the others are for people who say it twice."
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?:[._][A-Za-z0-9-]+)*")
_VERSION: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}")
_BOUND: Final = re.compile(r"(>=|<=|==|=|>|<)\s*([0-9.]+)")
_NEED: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9._-]*?)\s*((?:[<>=].*)?)")

Numbers = tuple[int, ...]


class Offer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A block or module that a node offers.

    Raises:
        LocalProtocolError: that is no name, or no version.
    """

    name: str
    "As in requests, `ffmpeg` or `NetServ.apps.NetMonitor`; compared without regard to case."
    version: str
    "Up to four numbers with dots between."

    def __post_init__(self) -> None:
        check_name(self.name)
        check_version(self.version)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class VersionRange(msgspec.Struct, frozen=True):
    """Versions that will do."""

    bounds: tuple[tuple[str, str], ...] = ()
    "Relation and version; all must hold. None: any version."

    def __str__(self) -> str:
        return ",".join(relation + version for relation, version in self.bounds)

    def holds(self, version: str) -> bool:
        """Whether a version will do; `==5` takes 5.0 and not 5.1."""
        return all(_holds(version_numbers(version), relation, version_numbers(than)) for relation, than in self.bounds)


class Need(msgspec.Struct, frozen=True):
    """A block or module that is needed, `ffmpeg>=5`."""

    name: str
    versions: VersionRange = VersionRange()

    def __post_init__(self) -> None:
        check_name(self.name)

    def __str__(self) -> str:
        return f"{self.name}{self.versions}"

    def met_by(self, offers: tuple[Offer, ...]) -> Offer | None:
        """The newest of the offers that will do."""
        wanted = folded(self.name)
        fit = [each for each in offers if folded(each.name) == wanted and self.versions.holds(each.version)]
        return max(fit, key=lambda each: version_numbers(each.version), default=None)


def parse_need(text: str) -> Need:
    """What is needed, of a name and at most four bounds.

    Raises:
        LocalProtocolError: it says neither.
    """
    match = _NEED.fullmatch(text)
    if match is None:
        raise LocalProtocolError(
            f"{text!r}: say a name, and the versions if they matter, as 'ffmpeg' or 'ffmpeg>=5,<7'"
        )
    return Need(match[1], parse_range(match[2]))


def parse_range(text: str) -> VersionRange:
    """Versions that will do, `>=5,<7`; an empty text for any.

    Raises:
        LocalProtocolError: it is no range.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    bounds = []
    for part in parts:
        match = _BOUND.fullmatch(part)
        if match is None or len(parts) > BOUNDS_MAX:
            raise LocalProtocolError(f"versions {text!r}: say up to {BOUNDS_MAX} bounds, as '>=5,<7' or '==5.1'")
        bounds.append(("==" if match[1] == "=" else match[1], check_version(match[2])))
    return VersionRange(tuple(bounds))


def folded(name: str) -> str:
    """A name as it is compared."""
    return name.lower()


def check_name(name: str) -> str:
    """Return a name of a block or module, or refuse it.

    Raises:
        LocalProtocolError: it is none.
    """
    if len(name) > NAME_MAX or _NAME.fullmatch(name) is None:
        raise LocalProtocolError(
            f"{name[:NAME_MAX]!r} is no name of a block or module: letters, digits and hyphens, in parts with dots "
            f"between, beginning with a letter, at most {NAME_MAX} characters, as in NetServ.apps.NetMonitor"
        )
    return name


def check_version(version: str) -> str:
    """Return a version, or refuse it.

    Raises:
        LocalProtocolError: it is none.
    """
    if _VERSION.fullmatch(version) is None:
        raise LocalProtocolError(
            f"{version[:NAME_MAX]!r} is no version: up to four numbers with dots between, as 1.0.0"
        )
    return version


def version_numbers(version: str) -> Numbers:
    """A version as what can be compared; final zeros do not count."""
    numbers = [int(part) for part in version.split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def _holds(version: Numbers, relation: str, than: Numbers) -> bool:
    match relation:
        case ">=":
            return version >= than
        case "<=":
            return version <= than
        case ">":
            return version > than
        case "<":
            return version < than
        case _:
            return version == than
