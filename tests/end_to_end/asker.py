"""A host that sends ready-made mDNS packets and tells what comes back to it by unicast.

Reads one JSON object on standard input: {"port": source port or 0, "packets": [hex, ..], "pause": seconds after each
packet, "wait": seconds to listen}. Writes one JSON list: [source port, hex] of each answer.
"""

import json
import socket
import sys
import time
from typing import Any

GROUP = ("224.0.0.251", 5353)


def opened(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    sock.bind((address, port))  # to the address of the host: what is multicast does not come here
    return sock


def perform(address: str, step: dict[str, Any]) -> list[tuple[int, str]]:
    answers = []
    with opened(address, step["port"]) as sock:
        for packet in step["packets"]:
            sock.sendto(bytes.fromhex(packet), GROUP)
            time.sleep(step["pause"])
        end = time.monotonic() + step["wait"]
        while (left_s := end - time.monotonic()) > 0:
            sock.settimeout(left_s)
            try:
                data, (_, port) = sock.recvfrom(9_000)
            except TimeoutError:
                break
            answers.append((port, data.hex()))
    return answers


if __name__ == "__main__":
    print(json.dumps(perform(sys.argv[1], json.load(sys.stdin))))
