"""What the controller wants done; results come back as calls of its methods, by the number of the job."""

from typing import Literal, TypeAlias

import msgspec

from netserv.container.installation import Installation
from netserv.controller.policy import IpAddress
from netserv.signaling.nslp.values import Dependency, Flow, ModuleRef

ModuleKey: TypeAlias = tuple[str, str]
"Publisher and name of a module: there is one at a time, of whatever version."


class CheckRoutability(msgspec.Struct, frozen=True, kw_only=True):
    """Have a host show the password; answered by `routable` or `unroutable`."""

    job: int
    user: str
    address: IpAddress
    port: int
    module: ModuleRef
    password: str


class Located(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bundle of a module is, as an index record says that a publisher has signed."""

    module: ModuleRef
    publisher: bytes
    "His public key."
    digest: bytes
    "SHA-256 of the bundle."
    size: int
    urls: tuple[str, ...]


class Locate(msgspec.Struct, frozen=True, kw_only=True):
    """Look in the index for a module that another one needs; answered by `located`."""

    job: int
    "Of who needs it."
    user: str
    dependency: Dependency


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """Have a bundle in a file of this node, digest checked; answered by `fetched` or `failed`."""

    job: int
    user: str
    urls: tuple[str, ...]
    "Each has it; the first that gives it is enough."
    digest: bytes
    bytes_max: int


class Verify(msgspec.Struct, frozen=True, kw_only=True):
    """See that one of these keys has signed a bundle, and read its manifest; answered by `verified` or `failed`."""

    job: int
    digest: bytes
    "Of the bundle, by which it was fetched."
    keys: tuple[bytes, ...]


class Install(msgspec.Struct, frozen=True, kw_only=True):
    """Load a module and let its packets go to it; answered by `installed` or `failed`, which leaves nothing behind."""

    job: int
    installation: Installation


class Uninstall(msgspec.Struct, frozen=True, kw_only=True):
    """End an installation, or the attempt at it, and leave nothing behind; answered by `removed`."""

    job: int


class Abandon(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody waits any more for the work of a job."""

    job: int


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """Tell a publisher's server."""

    url: str
    event: Literal["installed", "removed"]
    user: str
    module: ModuleRef
    code: int
    text: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An installed module in the journal."""

    text: bytes
    "Of the SETUP, as it was signed."
    flow: Flow
    publisher: bytes
    "Public key that has signed it."
    way: str
    "By which the traffic was shown to be his; empty: it asks for none."
    granted_s: int
    "Time to live."
    ends_at: float
    "On the clock of the calls."
    found: tuple[Located, ...] = ()
    "Modules that were fetched since it needs them."


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Write an installed module to the journal, in the place of what was there of it."""

    key: ModuleKey
    entry: Entry


class Forget(msgspec.Struct, frozen=True, kw_only=True):
    """Take it out of the journal."""

    key: ModuleKey


class Remember(msgspec.Struct, frozen=True, kw_only=True):
    """Write to the journal that a request was acted on, so that it is not after a restart of the node."""

    publisher: bytes
    nonce: bytes


Effect: TypeAlias = (
    CheckRoutability | Locate | Fetch | Verify | Install | Uninstall | Abandon | Notify | Record | Forget | Remember
)
