"""Asks along one path again and again in one session: TOWARD PAUSE_S reliable|datagrams PROFILE, until SIGTERM.

Writes a JSON line for each answer: its number, when it was asked (s since the start), how long it took, codes by node,
or the error. SIGTERM lets the requests that are under way be answered, and then ends it.
"""

import json
import signal
import sys
from pathlib import Path

import trio

from netserv.errors import NetservError
from netserv.signaling.asking import Signer, Way
from netserv.signaling.key_files import load_key
from netserv.signaling.nslp.requests import Probe
from netserv.signaling.profiles import Profile
from netserv.signaling.sessions import Session, session

PROBE = Probe(items=("status",))


async def ask(path: Session, number: int, begun: float) -> None:
    asked_at = trio.current_time() - begun
    line: dict[str, object] = {"number": number, "asked_at": round(asked_at, 3), "nodes": []}
    try:
        reply = await path.ask(PROBE)
        line["nodes"] = [(entry.node_id, entry.code) for entry in reply.response.nearest_first()]
    except NetservError as error:
        line["error"] = str(error)
    line["took_s"] = round(trio.current_time() - begun - asked_at, 4)
    print(json.dumps(line), flush=True)


async def ask_on(path: Session, pause_s: float, nursery: trio.Nursery) -> None:
    begun, number = trio.current_time(), 0
    while True:
        nursery.start_soon(ask, path, number, begun)
        number += 1
        await trio.sleep(pause_s)


async def main(toward: str, pause_s: float, how: str, profile: Profile) -> None:
    signer = Signer("alice", load_key(Path("alice.pem")))
    way = Way(reliable=how == "reliable", timeout_s=60.0, profile=profile)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with session(toward, signer, way) as path, trio.open_nursery() as asked, trio.open_nursery() as asking:
            asking.start_soon(ask_on, path, pause_s, asked)
            await anext(aiter(signals))
            asking.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4])
