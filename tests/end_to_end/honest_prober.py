"""An honest host: for each line with an address that it reads it probes toward that, each time as a node of its own.

Writes a JSON line for each: how long it took, and the codes by node, or the error.
"""

import json
import sys
from pathlib import Path

import trio

from netserv.errors import NetservError
from netserv.signaling.asking import Signer, Way, probe
from netserv.signaling.key_files import load_key

WAY = Way(control=None)


async def main() -> None:
    signer = Signer("alice", load_key(Path("alice.pem")))
    print("ready", flush=True)
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        begun = trio.current_time()
        said: dict[str, object] = {}
        try:
            reply = await probe(line.strip(), signer=signer, way=WAY)
            said["nodes"] = [(entry.node_id, entry.code) for entry in reply.response.nearest_first()]
        except NetservError as error:
            said["error"] = str(error)
        print(json.dumps({"elapsed_s": round(trio.current_time() - begun, 4), **said}), flush=True)


if __name__ == "__main__":
    trio.run(main)
