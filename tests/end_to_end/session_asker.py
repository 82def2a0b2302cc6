"""Asks the same path again and again in one session: TOWARD COUNT PAUSE_S reliable|datagrams [KIND].

Writes a JSON line for each answer: its number, when it was asked (s since the start), how long it took, codes by node,
or the error. Each line that is read from standard input is one more PROBE, where COUNT is 0.
"""

import json
import sys
import time
from pathlib import Path

import trio

from netserv.errors import NetservError
from netserv.signaling.asking import Signer, Way
from netserv.signaling.key_files import load_key
from netserv.signaling.nslp.requests import Probe
from netserv.signaling.sessions import session

PROBE = Probe(items=("status",))


async def main(toward: str, count: int, pause_s: float, how: str) -> None:
    signer = Signer("alice", load_key(Path("alice.pem")))
    way = Way(reliable=how == "reliable", timeout_s=60.0)
    async with session(toward, signer, way) as path:
        begun = time.monotonic()
        print(json.dumps({"sid": path.sid.hex(), "by_daemon": False}), flush=True)
        async with trio.open_nursery() as nursery:

            async def ask(number: int) -> None:
                asked_at = time.monotonic() - begun
                line: dict[str, object] = {"number": number, "asked_at": asked_at}
                try:
                    reply = await path.ask(PROBE)
                    line["nodes"] = {entry.node_id: entry.code for entry in reply.response.stack}
                except NetservError as error:
                    line["error"] = str(error)
                line["took_s"] = time.monotonic() - begun - asked_at
                print(json.dumps(line), flush=True)

            for number in range(count):
                nursery.start_soon(ask, number)
                await trio.sleep(pause_s)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
