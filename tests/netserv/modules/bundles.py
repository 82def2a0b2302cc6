"""Bundles for tests."""

import io
import zipfile
from collections.abc import Iterable, Mapping

from mdht.signing import SigningKey

ALICE = SigningKey.from_seed(bytes(range(32)))
BOB = SigningKey.from_seed(bytes(range(1, 33)))

MANIFEST = b"""\
name = "NetServ.apps.Echo"
version = "1.2.0"
entry = "echo.main:Echo"
kind = "both"
ports = [{ proto = "tcp", port = 8080 }]
requires = ["http-server>=1.0"]
exports = ["NetServ.echo"]

[[prematch]]
text = "NOTIFY "
"""
FILES: Mapping[str, bytes] = {
    "module.toml": MANIFEST,
    "echo/__init__.py": b"",
    "echo/main.py": b"class Echo:\n    pass\n",
    "data/table.bin": bytes(range(256)),
}


def zipped(members: Iterable[tuple[zipfile.ZipInfo | str, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of what a packer with bad intentions may put in."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def with_member(info: zipfile.ZipInfo | str, data: bytes = b"x") -> bytes:
    """A good bundle, and one file more."""
    return zipped([*FILES.items(), (info, data)])


def member(name: str, mode: int, *, attributes: int = 0) -> zipfile.ZipInfo:
    """A file of a kind, as Unix has it in its mode."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode << 16) | attributes
    return info
