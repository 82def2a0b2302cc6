"""`netserv-discovery publish`, `locate` and `fetch`: bundles of modules, found by name and version through the DHT."""

import argparse
import hashlib
import logging
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from mdht.errors import MdhtError
from mdht.signing import SigningKey
from netserv_discovery.cli_output import dht_settings, tell
from netserv_discovery.counters import counted
from netserv_discovery.dht_io import open_dht
from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.fetch_io import FetchRules, fetch, parse_rules
from netserv_discovery.index import (
    SIZE_MAX,
    Choice,
    IndexRecord,
    Publishers,
    encode,
    index_record,
    read_publishers,
)
from netserv_discovery.keys import index_key
from netserv_discovery.locating import locate
from netserv_discovery.text_files import read_text

log = logging.getLogger(__name__)

FAILED: Final = 1
_CHUNK: Final = 1 << 20


async def run(options: argparse.Namespace) -> int:
    """Run one of the three.

    Raises:
        DiscoveryError: it cannot be done.
    """
    match options.command:
        case "publish":
            return await _publish(options)
        case "locate":
            return await _locate(options)
        case _:
            return await _fetch(options)


async def _publish(options: argparse.Namespace) -> int:
    try:
        key = SigningKey.load(options.key, "key")
    except MdhtError as error:
        raise LocalProtocolError(str(error)) from error
    digest, size = await trio.to_thread.run_sync(_measured, options.file)
    async with open_dht(dht_settings(options), key, wait=True) as dht:
        where, name = index_key(options.module.name), options.module.version.encode()
        if options.withdraw:
            await dht.remove(where, name)
            tell(options, f"{options.module}: withdrawn", {"module": options.module.name, "withdrawn": True})
            return 0
        try:
            while True:
                record = index_record(
                    options.module,
                    key.public_key,
                    digest=digest,
                    size=size,
                    urls=options.url,
                    issued=int(time.time()),
                    life_s=options.lease,
                )
                stored = await dht.put(where, name, encode(record, key), lease_s=options.lease, leaves=not options.stay)
                tell(
                    options, _published_text(record, stored, options.lease), record_fields(record) | {"stored": stored}
                )
                if not options.stay:
                    return 0
                await trio.sleep(options.lease / 2)
        finally:
            if options.stay:
                with trio.move_on_after(2.0, shield=True):
                    await dht.remove(where, name)


async def _locate(options: argparse.Namespace) -> int:
    believed = await _believed(options)
    async with open_dht(dht_settings(options), SigningKey.generate(), wait=True) as dht:
        choice = await locate(dht, options.module, believed)
    if choice.best is None:
        return _nothing(options, choice)
    for record in (choice.best, *choice.others):
        tell(
            options, _located_text(record, believed), record_fields(record) | {"publisher": believed[record.publisher]}
        )
    if refused := counted(choice.refused):
        log.info("left out: %s", refused)
    return 0


async def _fetch(options: argparse.Namespace) -> int:
    believed = await _believed(options)
    rules = await trio.to_thread.run_sync(_rules, options)
    async with open_dht(dht_settings(options), SigningKey.generate(), wait=True) as dht:
        choice = await locate(dht, options.module, believed)
    if choice.best is None:
        return _nothing(options, choice)
    record = choice.best
    target = options.output or Path(f"{record.module.name}_{record.module.version}.zip")
    fetched = await fetch(record, target, rules, replace=options.replace)
    text = f"{record.module} by {believed[record.publisher]}: {fetched.size} bytes in {target}, from {fetched.url}"
    tell(options, text, record_fields(record) | msgspec.to_builtins(fetched))
    return 0


def _nothing(options: argparse.Namespace, choice: Choice) -> int:
    refused = counted(choice.refused)
    print(f"netserv-discovery: no bundle of {options.module} by a publisher who is believed was found"
          f"{f' (left out: {refused})' if refused else ''}", file=sys.stderr)  # fmt: skip
    return FAILED


async def _believed(options: argparse.Namespace) -> Publishers:
    """Whom to believe: name of each key, those of the command line first."""
    found = {key: key.hex()[:16] for key in options.publisher}
    if options.publishers is not None:
        text = await trio.to_thread.run_sync(read_text, options.publishers, "publishers")
        for key, name in read_publishers(text).items():
            found.setdefault(key, name)
    if not found:
        raise LocalProtocolError("anybody may say where a bundle is: name a publisher to believe, --publisher KEY")
    return found


def _rules(options: argparse.Namespace) -> FetchRules:
    rules = FetchRules() if options.policy is None else parse_rules(read_text(options.policy, "policy"))
    return msgspec.structs.replace(
        rules,
        hosts=(*rules.hosts, *options.host),
        schemes=tuple(dict.fromkeys((*rules.schemes, *(("http",) if options.http else ())))),
        size_max=rules.size_max if options.size_max is None else min(rules.size_max, options.size_max),
    )


def _measured(path: Path) -> tuple[bytes, int]:
    """SHA-256 and size of a bundle."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                size += len(data)
                if size > SIZE_MAX:
                    raise LocalProtocolError(f"{path}: a bundle has at most {SIZE_MAX} bytes")
                digest.update(data)
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error
    return digest.digest(), size


def record_fields(record: IndexRecord) -> dict[str, Any]:
    """An index record for scripts."""
    return {
        "module": record.module.name,
        "version": record.module.version,
        "key": record.publisher.hex(),
        "sha256": record.digest.hex(),
        "size": record.size,
        "urls": record.urls,
        "issued": record.issued,
        "expires": record.expires,
    }


def _published_text(record: IndexRecord, stored: int, lease_s: int) -> str:
    nodes = f"{stored} node{'' if stored == 1 else 's'}"
    return f"{record.module}: {record.size} bytes, sha256 {record.digest.hex()}; stored at {nodes}, for {lease_s} s"


def _located_text(record: IndexRecord, believed: Publishers) -> str:
    head = f"{record.module}  by {believed[record.publisher]}  {record.size} bytes  sha256 {record.digest.hex()}"
    return "\n".join([head, *(f"    {url}" for url in record.urls)])
