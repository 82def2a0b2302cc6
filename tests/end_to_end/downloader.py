"""Downloads as a node does, on a host of the laboratory: `python downloader.py OWN,ADDRESSES URL...`; JSON lines."""

import json
import sys

import trio

from netserv.controller.http_process import HttpError, HttpProcesses, HttpRules, HttpTask


async def main(own: str, *urls: str) -> None:
    """One after the other, by the rules that hold where an operator says nothing."""
    http = HttpProcesses(HttpRules(), lambda: own.split(","))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(http.keep_ready)
        for url in urls:
            body = bytearray()
            task = HttpTask(url=url, bytes_max=1_000, deadline_s=5.0, redirects_max=3)
            try:
                await http.request(task, "alice", body.extend)
            except HttpError as error:
                print(json.dumps({"url": url, "code": error.code, "text": str(error)}), flush=True)
            else:
                print(json.dumps({"url": url, "code": 200, "text": body.decode()}), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
