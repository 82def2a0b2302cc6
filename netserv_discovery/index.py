"""The building-block repository: where the bundle of a module is, as its publisher says and signs.

An index record lies in the DHT under `keys.index_key(name)`, one for each version. Anybody may write there; what counts
is signed by a publisher whom the operator believes. The bundle itself is checked by size and SHA-256.
"""

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from mdht.signing import PUBLIC_KEY_BYTES, SigningKey, public_key_from, verify
from netserv_discovery.errors import LocalProtocolError, Refusal, RemoteProtocolError
from netserv_discovery.record import AHEAD_MAX_S, SIGNATURE_BYTES
from netserv_discovery.versions import Need, Offer, folded, version_numbers

VERSION: Final = 1
RECORD_MAX: Final = 1_000
"Bytes, as of a node's record."
URLS_MAX: Final = 4
URL_MAX: Final = 200
"Characters: four of them and the rest fit."
SIZE_MAX: Final = 64 * 2**20
"Bytes of a bundle: what a node unpacks at the most."
LIFE_MAX_S: Final = 400 * 86_400
"A year and a month: publishers renew once a year."
CANDIDATES_MAX: Final = 1_000
"Values of one key that are looked at: as many as a DHT node keeps."
PUBLISHERS_MAX: Final = 4_096
"In one list; 100 bytes each."
SCHEMES: Final = ("https", "http")
"http will do, as the digest is signed."
_CONTEXT: Final = b"netserv index record 1\0"
_URL_TEXT: Final = re.compile(r"[!-~]+")

_Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Publishers: TypeAlias = Mapping[bytes, str]
"Public keys of those who are believed, and their names."


class IndexRecord(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where one version of a module is.

    Raises:
        LocalProtocolError: a value breaks the rules; the text says which.
    """

    version: int
    "Of this format."
    publisher: bytes
    "Ed25519 public key."
    module: Offer
    digest: bytes
    "SHA-256 of the bundle."
    size: Annotated[int, msgspec.Meta(ge=1)]
    "Bytes of the bundle."
    urls: tuple[str, ...]
    "http or https; each has the whole bundle."
    issued: _Time
    expires: _Time

    def __post_init__(self) -> None:
        if len(self.publisher) != PUBLIC_KEY_BYTES or len(self.digest) != hashlib.sha256().digest_size:
            raise LocalProtocolError("a publisher's key and a bundle's SHA-256 have 32 bytes each")
        if not 1 <= self.size <= SIZE_MAX:
            raise LocalProtocolError(f"a bundle of {self.size} B; 1 to {SIZE_MAX} are allowed")
        if not 1 <= len(self.urls) <= URLS_MAX:
            raise LocalProtocolError(f"{len(self.urls)} URLs; say 1 to {URLS_MAX}")
        for url in self.urls:
            check_url(url)
        if not 0 < self.expires - self.issued <= LIFE_MAX_S:
            raise LocalProtocolError(f"an index record is for 1 s to {LIFE_MAX_S // 86_400} days")

    @property
    def name(self) -> bytes:
        """Its sub-name in the DHT: one record for each version."""
        return self.module.version.encode()


class _AnyVersion(msgspec.Struct, frozen=True, array_like=True):
    version: int


_ANY: Final = msgspec.msgpack.Decoder(_AnyVersion)
_DECODER: Final = msgspec.msgpack.Decoder(IndexRecord)
_ENCODER: Final = msgspec.msgpack.Encoder()


class Choice(msgspec.Struct, frozen=True):
    """What was found of a module."""

    best: IndexRecord | None
    "The newest version that fits, of a publisher who is believed."
    others: tuple[IndexRecord, ...]
    "All that fit, best first, that one left out."
    refused: Mapping[str, int]
    "Values that do not count, by `Refusal`."


def index_record(
    module: Offer, publisher: bytes, *, digest: bytes, size: int, urls: Iterable[str], issued: int, life_s: int
) -> IndexRecord:
    """An index record of this format's version."""
    return IndexRecord(VERSION, publisher, module, digest, size, tuple(urls), issued, issued + life_s)


def encode(record: IndexRecord, key: SigningKey) -> bytes:
    """Return the signed record.

    Raises:
        LocalProtocolError: it is too long, or of another key.
    """
    if key.public_key != record.publisher:
        raise LocalProtocolError("an index record is signed with the key of its publisher")
    body = _ENCODER.encode(record)
    if len(body) + SIGNATURE_BYTES > RECORD_MAX:
        raise LocalProtocolError(
            f"an index record of {len(body) + SIGNATURE_BYTES} B; at most {RECORD_MAX}: give fewer or shorter URLs"
        )
    return body + key.sign(_CONTEXT + body)


def decode(data: bytes, unix_now: float) -> IndexRecord:
    """Return the record of signed bytes, of whatever publisher.

    Raises:
        RemoteProtocolError: it is none, or none that counts now.
    """
    record = _unverified(data, unix_now)
    _check_signature(record, data)
    return record


def choose(
    values: Iterable[bytes], need: Need, believed: Publishers, unix_now: float, *, under: str | None = None
) -> Choice:
    """Return the newest version that fits.

    Args:
        values: found under `index_key` of the module.
        need: name and versions.
        believed: whose records count.
        unix_now: seconds.
        under: name of the module whose key that was; None: that of `need`.
    """
    refused: Counter[str] = Counter()
    found: dict[tuple[bytes, str], IndexRecord] = {}
    for number, data in enumerate(values):
        if number == CANDIDATES_MAX:
            refused[Refusal.TOO_MANY] += 1
            break
        try:
            record = _believed(data, under or need.name, believed, unix_now)
        except RemoteProtocolError as error:
            refused[error.code] += 1
            continue
        slot = (record.publisher, record.module.version)
        other = found.get(slot)
        if other is not None and other != record:
            refused[Refusal.SUPERSEDED] += 1
        if other is None or (record.issued, record.digest) > (other.issued, other.digest):
            found[slot] = record
    fit = [each for each in found.values() if need.met_by((each.module,))]
    # Of one version by two publishers, that of the one who stands first on the list.
    order = {key: at for at, key in enumerate(believed)}
    fit.sort(key=lambda each: order[each.publisher])
    fit.sort(key=lambda each: version_numbers(each.module.version), reverse=True)
    return Choice(fit[0] if fit else None, tuple(fit[1:]), dict(refused))


def check_bundle(record: IndexRecord, bundle: bytes) -> None:
    """Check what came from a URL.

    Raises:
        RemoteProtocolError: it is not the bundle that the publisher has signed for.
    """
    if len(bundle) != record.size or hashlib.sha256(bundle).digest() != record.digest:
        raise RemoteProtocolError(
            f"{record.module}: what came is not what its publisher has signed ({len(bundle)} of {record.size} B)"
        )


def check_url(url: str) -> str:
    """Return a URL, or refuse it.

    Raises:
        LocalProtocolError: it is none from which a bundle can be had.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        usable = False
    if not usable or len(url) > URL_MAX or _URL_TEXT.fullmatch(url) is None:
        raise LocalProtocolError(
            f"{url[:URL_MAX]!r}: a URL is http or https, of at most {URL_MAX} ASCII characters, without a user"
        )
    return url


def read_publishers(text: str) -> dict[bytes, str]:
    """Whom to believe: TOML, `name = "base64 of the public key"` or a list of several keys; the first counts most.

    It is the file of publishers that signalling has.

    Raises:
        LocalProtocolError: the text is something else; it says what and where.
    """
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise LocalProtocolError(f"publishers: not TOML: {error}") from error
    found = {
        _key(name, each): name
        for name, value in table.items()
        for each in (value if isinstance(value, list) else [value])
    }
    if len(found) > PUBLISHERS_MAX:
        raise LocalProtocolError(f"{len(found)} keys of publishers; at most {PUBLISHERS_MAX}")
    return found


def _key(name: str, text: object) -> bytes:
    key = public_key_from(text)
    if key is None:
        raise LocalProtocolError(
            f'publisher {name}: say {name} = "KEY", the base64 of a public key of {PUBLIC_KEY_BYTES} bytes'
        )
    return key


def _believed(data: bytes, name: str, believed: Publishers, unix_now: float) -> IndexRecord:
    record = _unverified(data, unix_now)
    if record.publisher not in believed:  # before its signature: a flood of strangers costs no verification
        raise RemoteProtocolError("of a publisher who is not believed", code=Refusal.UNBELIEVED)
    if folded(record.module.name) != folded(name):
        raise RemoteProtocolError("of another module", code=Refusal.WRONG_PLACE)
    _check_signature(record, data)
    return record


def _unverified(data: bytes, unix_now: float) -> IndexRecord:
    if len(data) > RECORD_MAX:
        raise RemoteProtocolError(f"an index record of {len(data)} B", code=Refusal.TOO_LONG)
    body = data[:-SIGNATURE_BYTES]
    try:
        version = _ANY.decode(body).version
        if version != VERSION:
            raise RemoteProtocolError(f"an index record of version {version}; {VERSION} is read", code=Refusal.VERSION)
        record = _DECODER.decode(body)
    except (msgspec.MsgspecError, LocalProtocolError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"not an index record: {error}") from error
    if _ENCODER.encode(record) != body:
        raise RemoteProtocolError("an index record that is not in its shortest form")
    if record.expires <= unix_now:
        raise RemoteProtocolError("an expired index record", code=Refusal.EXPIRED)
    if record.issued > unix_now + AHEAD_MAX_S:
        raise RemoteProtocolError("an index record of the future", code=Refusal.TOO_FAR_AHEAD)
    return record


def _check_signature(record: IndexRecord, data: bytes) -> None:
    if not verify(record.publisher, _CONTEXT + data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]):
        raise RemoteProtocolError("an index record forged or damaged", code=Refusal.BAD_SIGNATURE)
