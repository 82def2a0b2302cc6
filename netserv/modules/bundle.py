"""Bundles: a zip of `module.toml`, Python sources and data files, and their publisher's signature.

A bundle is refused whole, before any file of it reaches a disk: nothing is renamed or made harmless. What is in it is
read with `zipfile`, but only after its end says that the directory of files has a bounded size.
"""

import base64
import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from mdht.signing import PUBLIC_KEY_BYTES, SigningKey
from mdht.signing import verify as signature_fits
from netserv.modules.errors import BundleError
from netserv.modules.manifest import MANIFEST_NAME, Manifest, read_manifest
from netserv.modules.member_names import MemberNames

BUNDLE_BYTES_MAX: Final = 64 << 20
"Of the zip, and of what is in it: a container has less memory, and a router little disk."
FILES_MAX: Final = 4_096
RATIO_MAX: Final = 100
"Of a file to what it takes in the zip: text and code stay below 20, a bomb has 1,000."
SIGNATURE_NAME: Final = "module.sig"
SIGNATURE_BYTES: Final = 64

_CONTEXT: Final = b"netserv module bundle 1\n"
"Begins what is signed, so that no signature over something else, such as a request, can stand for it."
_ALGORITHM: Final = "ed25519"
_END: Final = struct.Struct("<4s4H2LH")
"End of central directory record (APPNOTE 4.3.16), without a comment."
_ENTRY_BYTES: Final = (46, 46 + 1_024)
"Of one file in the central directory: its fixed part, and with a name and extra fields that are not strange."
_WIDE_END: Final = b"PK\x06\x07"
"Zip64 locator: `zipfile` would believe it instead of the record behind it; no bundle is so large."
_FLAGS: Final = 0x080E
"Names in UTF-8, sizes behind the data, and how hard the packer tried; others say encrypted or patched."
_DOS_ODD: Final = 0x08 | 0x40
"Volume label, device."
_DOS_DIRECTORY: Final = 0x10
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"The first time that a zip can say: of every file, so that the same sources give the same bytes."


class Bundle(msgspec.Struct, frozen=True):
    """An opened bundle."""

    manifest: Manifest
    files: Mapping[str, bytes]
    "By their paths, with `module.toml` and without the signature."
    signer: bytes | None = None
    "Public key of who has signed all of it, checked; None: nobody has. Whether he may is for `verify`."


def build_bundle(files: Mapping[str, bytes], key: SigningKey | None = None) -> bytes:
    """The zip of some files; the same files and key give the same bytes on every machine.

    Args:
        files: by path, `module.toml` among them. Stored as they are, since packers differ from machine to machine.
        key: the publisher's; without one it is not signed.

    Raises:
        BundleError: no node would take them.
    """
    content = {name: data for name, data in files.items() if name != SIGNATURE_NAME}
    if key is not None:
        content[SIGNATURE_NAME] = _signature_file(key.public_key, key.sign(_signed_text(content)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content[name])
    data = buffer.getvalue()
    open_bundle(data)
    return data


def open_bundle(data: bytes) -> Bundle:
    """What is in a bundle.

    Raises:
        BundleError: it breaks a rule, or was changed after it had been signed.
    """
    files = _read_files(data)
    if MANIFEST_NAME not in files:
        raise BundleError(f"no {MANIFEST_NAME} at the top of the bundle")
    manifest = read_manifest(files[MANIFEST_NAME])
    path = manifest.entry_module.replace(".", "/")
    if f"{path}.py" not in files and f"{path}/__init__.py" not in files:
        raise BundleError(f"entry {manifest.entry}: the bundle has neither {path}.py nor {path}/__init__.py")
    signature = files.pop(SIGNATURE_NAME, None)
    signer = None if signature is None else _checked_signer(signature, files)
    return Bundle(manifest, MappingProxyType(files), signer)


def verify(bundle: Bundle, keys: Iterable[bytes]) -> bytes:
    """Say which of some public keys has signed a bundle.

    Args:
        bundle: as it was opened.
        keys: of the publisher who says that it is his.

    Raises:
        BundleError: none of them.
    """
    if bundle.signer is None:
        raise BundleError(f"{bundle.manifest.reference} is not signed; `netserv module sign` does it")
    if bundle.signer not in set(keys):
        raise BundleError(
            f"{bundle.manifest.reference} is signed by {bundle.signer.hex()}, which is no key of its user"
        )
    return bundle.signer


def _signed_text(files: Mapping[str, bytes]) -> bytes:
    """One line for each file, in order; names have no spaces or line ends."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()} {name}\n" for name in sorted(files)]
    return _CONTEXT + "".join(lines).encode()


def _signature_file(public_key: bytes, signature: bytes) -> bytes:
    words = (_ALGORITHM, base64.b64encode(public_key).decode(), base64.b64encode(signature).decode())
    return (" ".join(words) + "\n").encode()


def _checked_signer(text: bytes, files: Mapping[str, bytes]) -> bytes:
    words = text.split(b" ") if len(text) <= 256 else []
    try:
        key, signature = (base64.b64decode(word.strip(b"\n"), validate=True) for word in words[1:])
    except ValueError:
        key = signature = b""
    # Written anew it has to be the same text: one signature has one form.
    sizes_fit = len(key) == PUBLIC_KEY_BYTES and len(signature) == SIGNATURE_BYTES
    if not sizes_fit or _signature_file(key, signature) != text:
        raise BundleError(f"{SIGNATURE_NAME} is not `{_ALGORITHM} KEY SIGNATURE` in base64")
    if not signature_fits(key, _signed_text(files), signature):
        raise BundleError("the signature does not fit the files: the bundle was changed after it had been signed")
    return key


def _read_files(data: bytes) -> dict[str, bytes]:
    _check_end(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            wanted = _checked_members(archive.infolist())
            return {info.filename: _content(archive, info) for info in wanted}
    # All that `zipfile` raises about strange bytes, `NotImplementedError` and `RuntimeError` of what it cannot do.
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, RuntimeError, OverflowError, struct.error) as error:
        raise BundleError(f"no zip that can be read: {str(error)[:200]}") from None
    except zlib.error as error:
        raise BundleError(f"packed data that cannot be unpacked: {error}") from None


def _check_end(data: bytes) -> None:
    """Refuse what would have `zipfile` build a table of a million files before it can be counted."""
    if len(data) > BUNDLE_BYTES_MAX:
        raise BundleError(f"more than {BUNDLE_BYTES_MAX >> 20} MiB")
    if len(data) < _END.size:
        raise BundleError("no zip: too short")
    magic, disk, first_disk, here, total, size, offset, comment = _END.unpack_from(data, len(data) - _END.size)
    if magic != b"PK\x05\x06" or comment:
        raise BundleError("no zip, or one with something behind its end")
    if disk or first_disk or here != total or data[-_END.size - 20 :].startswith(_WIDE_END):
        raise BundleError("a zip of several parts, or a zip64")
    if total > FILES_MAX:
        raise BundleError(f"more than {FILES_MAX} files")
    least, most = _ENTRY_BYTES
    if offset + size != len(data) - _END.size or not least * total <= size <= most * total:
        raise BundleError("the zip's directory of files is not where and as large as its end says")


def _checked_members(infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    if len(infos) > FILES_MAX:
        raise BundleError(f"more than {FILES_MAX} files")
    names = MemberNames()
    whole = 0
    for info in infos:
        names.add(info.orig_filename, directory=_is_directory(info))
        _check_packing(info)
        whole += info.file_size
        if whole > BUNDLE_BYTES_MAX:
            raise BundleError(f"more than {BUNDLE_BYTES_MAX >> 20} MiB when unpacked")
    return [info for info in infos if not _is_directory(info)]


def _is_directory(info: zipfile.ZipInfo) -> bool:
    """Whether it is a directory; else it is a plain file."""
    named = info.orig_filename.endswith("/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFDIR if named else stat.S_IFREG} or info.external_attr & _DOS_ODD:
        raise BundleError(f"{info.orig_filename[:80]!r} is a link, a device or the like; only files are allowed")
    if not named and info.external_attr & _DOS_DIRECTORY:
        raise BundleError(f"{info.orig_filename[:80]!r} is both a file and a directory")
    return named


def _check_packing(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & ~_FLAGS:
        raise BundleError(f"{info.filename}: encrypted, or packed in a way that bundles do not use")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BundleError(f"{info.filename}: packed by a method other than store and deflate")
    if info.is_dir() and info.file_size:
        raise BundleError(f"{info.filename}: a directory with content")
    if info.file_size > RATIO_MAX * info.compress_size:
        raise BundleError(
            f"{info.filename}: {info.file_size} bytes from {info.compress_size}, a ratio over {RATIO_MAX}"
        )


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as source:
        # At most as many bytes as the directory says are unpacked, in pieces; their checksum is compared.
        data = source.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise BundleError(f"{info.filename}: {len(data)} bytes, not {info.file_size}")
    return data
