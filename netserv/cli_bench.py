"""`netserv bench`: measure, tell, and write down."""

import argparse
import sys
from pathlib import Path

import msgspec

from dhtboot import results
from dhtboot.errors import LocalProtocolError as FiguresError
from netserv.bench import measuring, report, throughput
from netserv.bench.results import Found
from netserv.bench.scene import apart, check_machine
from netserv.cli_bench_options import KINDS
from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.forwarding.base import PLANES


async def run(options: argparse.Namespace) -> int:
    """Measure; afterwards no namespace, process, rule or group is left, also after Ctrl-C.

    Raises:
        NetservError: this machine does not give what is needed, or the directory cannot be written to.
    """
    check_machine()
    kinds = set(options.what or KINDS)
    if "throughput" in kinds:
        try:
            apart()
        except SystemRefusedError as error:
            if options.what:
                raise
            print(f"left out: {error}", file=sys.stderr)
            kinds.remove("throughput")
    if options.out is not None:
        _make(options.out)
    settings = measuring.Settings(
        planes=PLANES if options.plane == "both" else (options.plane,),
        rounds=options.rounds,
        seconds=options.seconds,
        sizes=options.bytes,
        crowds=options.containers,
    )
    found = await _measured(kinds, settings)
    if options.json:
        print(msgspec.json.encode(found).decode(), flush=True)
    else:
        print("\n".join(report.tables(found)), flush=True)
    if options.out is not None:
        _write(options.out, found)
    return 0


async def _measured(kinds: set[str], settings: measuring.Settings) -> Found:
    found = Found()
    if kinds - {"throughput"}:
        async with measuring.machine(settings.planes) as built:
            rates = await measuring.rates(built, settings, _progress) if "rates" in kinds else []
            delays = await measuring.delays(built, settings, _progress) if "delay" in kinds else []
            crowds = await measuring.crowds(built, settings, _progress) if "containers" in kinds else []
        found = Found(rates=tuple(rates), delays=tuple(delays), crowds=tuple(crowds))
    if "throughput" in kinds:
        async with measuring.machine(settings.planes, apart()) as built:
            rows = await throughput.throughputs(built, settings, _progress)
        found = msgspec.structs.replace(found, throughputs=tuple(rows))
    _progress("")
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(directory, error) from error


def _write(directory: Path, found: Found) -> None:
    files = {name: text.encode() for name, text in report.csv_files(found).items()}
    try:
        from netserv.bench import plotting  # noqa: PLC0415 - matplotlib is optional, and takes a second to import

        files |= plotting.figures(found)
    except FiguresError as error:
        print(f"no figures: {error}", file=sys.stderr)
    try:
        for name, data in files.items():
            print(f"wrote {results.write(directory / name, data)}", file=sys.stderr)
    except OSError as error:
        raise _unwritable(directory, error) from error


def _unwritable(directory: Path, error: OSError) -> LocalProtocolError:
    return LocalProtocolError(f"cannot write to {directory}: {error.strerror}; choose another --out")
