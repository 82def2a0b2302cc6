"""`netserv module`: write, pack, sign and check modules."""

import argparse
import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from netserv.apps.sources import app_files
from netserv.errors import LocalProtocolError
from netserv.modules.bundle import BUNDLE_BYTES_MAX, Bundle, build_bundle, open_bundle, verify
from netserv.modules.errors import BundleError
from netserv.modules.sources import check_sources, read_sources
from netserv.modules.templates import directory_name, new_module
from netserv.signaling.key_files import load_key, load_publishers


def run(options: argparse.Namespace) -> int:
    """Do one action.

    Raises:
        LocalProtocolError: a file cannot be read or written, or is there already.
        BundleError: no node would take the bundle.
    """
    match options.action:
        case "new":
            fields, lines = _new(options)
        case "build":
            fields, lines = _build(options)
        case "sign":
            fields, lines = _sign(options)
        case "verify":
            fields, lines = _verify(options)
        case _:
            data = _read(options.file)
            fields, lines = _shown(options.file, data, _opened(options.file, data))
    print(msgspec.json.encode(fields).decode() if options.json else "\n".join(lines))
    return 0


def _new(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    files = new_module(options.name, options.kind)
    directory: Path = options.directory or Path(directory_name(options.name))
    try:
        directory.mkdir(parents=True)
        for name, data in files.items():
            (directory / name).write_bytes(data)
    except FileExistsError:
        raise LocalProtocolError(f"{directory} is there already; name another with --directory") from None
    except OSError as error:
        raise LocalProtocolError(f"{error.filename}: {error.strerror or error}") from error
    fields = {"name": options.name, "kind": options.kind, "directory": str(directory), "files": sorted(files)}
    return fields, [
        *(str(directory / name) for name in files),
        f"next: netserv module build {directory} --key FILE.pem",
    ]


def _build(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    files = read_sources(options.directory) if options.app is None else app_files(options.app)
    check_sources(files)
    data = build_bundle(files, None if options.key is None else load_key(options.key))
    bundle = open_bundle(data)
    output: Path = options.output or Path(f"{bundle.manifest.reference}.zip")
    return _written(output, data, bundle)


def _sign(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    key = load_key(options.key)
    bundle = _opened(options.file, _read(options.file))
    data = build_bundle(bundle.files, key)
    return _written(options.output or options.file, data, open_bundle(data))


def _verify(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    if (options.publishers is None) != (options.user is None):
        raise LocalProtocolError("--publishers and --user go together: a file, and whom in it")
    data = _read(options.file)
    bundle = _opened(options.file, data)
    check_sources(bundle.files)
    if options.key is not None:
        verify(bundle, [load_key(options.key).public_key])
    if options.publishers is not None:
        keys = load_publishers(options.publishers).keys_of(options.user)
        if not keys:
            raise LocalProtocolError(f"publishers file {options.publishers} knows no {options.user}")
        verify(bundle, keys)
    if bundle.signer is None:
        raise BundleError(f"{options.file} is not signed; `netserv module sign` does it")
    fields = _fields(options.file, data, bundle)
    checked = options.key is not None or options.publishers is not None
    whose = "the key that was asked for" if checked else "a key; give --key, or --publishers and --user, to say whose"
    return fields | {"signer_checked": checked}, [
        f"{options.file}: {bundle.manifest.reference} is as it was signed, with {whose}",
        f"signer {bundle.signer.hex()}",
    ]


def _written(output: Path, data: bytes, bundle: Bundle) -> tuple[dict[str, Any], list[str]]:
    _write(output, data)
    fields = _fields(output, data, bundle)
    signed = "not signed: netserv module sign" if bundle.signer is None else f"signer {bundle.signer.hex()}"
    return fields, [f"{output}: {bundle.manifest.reference}, {len(data)} bytes", f"digest {fields['digest']}", signed]


def _shown(path: Path, data: bytes, bundle: Bundle) -> tuple[dict[str, Any], list[str]]:
    manifest = bundle.manifest
    ports = ", ".join(f"{wish.proto} {wish.port}" for wish in manifest.ports)
    prematch = ", ".join(f"{wish.data!r} at {wish.offset}" for wish in manifest.prematch)
    said = {
        "description": manifest.description,
        "kind": manifest.kind,
        "entry": manifest.entry,
        "requires": ", ".join(manifest.requires),
        "exports": ", ".join(manifest.exports),
        "ports": ports,
        "prematch": prematch,
        "failure": manifest.failure,
        "signer": "none" if bundle.signer is None else bundle.signer.hex(),
    }
    fields = _fields(path, data, bundle) | {
        "manifest": msgspec.to_builtins(manifest),
        "files": {name: len(content) for name, content in sorted(bundle.files.items())},
    }
    return fields, [
        manifest.reference,
        *(f"  {name:<12} {value}" for name, value in said.items() if value),
        f"  {'digest':<12} {fields['digest']}",
        f"{len(bundle.files)} files, {sum(map(len, bundle.files.values()))} bytes",
        *(f"  {len(content):>9} {name}" for name, content in sorted(bundle.files.items())),
    ]


def _fields(path: Path, data: bytes, bundle: Bundle) -> dict[str, Any]:
    return {
        "file": str(path),
        "name": bundle.manifest.name,
        "version": bundle.manifest.version,
        "bytes": len(data),
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "signer": None if bundle.signer is None else bundle.signer.hex(),
    }


def _opened(path: Path, data: bytes) -> Bundle:
    try:
        return open_bundle(data)
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BUNDLE_BYTES_MAX + 1)
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error


def _write(path: Path, data: bytes) -> None:
    """So that a bundle is there whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            draft.write_bytes(data)
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error
