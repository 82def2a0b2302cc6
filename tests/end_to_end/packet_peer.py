"""A host at the end of a path: sends UDP datagrams as told by lines of JSON, and tells which ones come."""

import json
import os
import select
import socket
import sys
import time
from typing import Any

IP_RECVTTL = 12
SO_RCVBUFFORCE = 33
AT_ONCE, PAUSE_S = 16, 0.001
"Of a flood until something else is to be done: some 12,000 a second, which the other end keeps up with."
ANYWHERE = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


def set_ttl(sock: socket.socket, ttl: int) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)


def send_from_ports(order: dict[str, Any]) -> None:
    for port in range(*order["from_ports"]):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("0.0.0.0", port))
            sock.sendto(order["payload"].encode(), (order["to"], order["port"]))
        if port % AT_ONCE == 0:
            time.sleep(PAUSE_S)


def obey(order: dict[str, Any], socks: list[socket.socket], counted: dict[str, int]) -> None:
    if "tell" in order:
        say(event="counted", tell=order["tell"], counted=counted)
        return
    sock = socks[2 * order.get("by", 0) + (":" in order["to"])]
    if "ttl" in order:
        set_ttl(sock, order["ttl"])
    if "until_told" in order:
        sent = 0
        while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
            for _ in range(AT_ONCE):
                sock.sendto(order["payload"].format(sent).encode(), (order["to"], order["port"]))
                sent += 1
        say(event="sent", until_told=order["until_told"], sent=sent)
        return
    if "from_ports" in order:
        send_from_ports(order)
        return
    for number in range(order.get("times", 1)):
        time.sleep(order.get("pause", 0))
        sock.sendto(order["payload"].format(number).encode(), (order["to"], order["port"]))


def main(ports: list[int]) -> None:
    socks = []
    ends = [(family, anywhere, port) for port in ports for family, anywhere in ANYWHERE]
    for family, anywhere, port in ends:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        sock.bind((anywhere, port))
        socks.append(sock)
    counted: dict[str, int] = {}
    say(event="ready")
    rest = b""
    while True:
        for each in select.select([sys.stdin, *socks], [], [])[0]:
            if each is sys.stdin:
                orders = os.read(0, 65_536)
                if not orders:
                    return
                *lines, rest = (rest + orders).split(b"\n")
                for line in lines:
                    obey(json.loads(line), socks, counted)
                continue
            data, ancillary, _, source = each.recvmsg(65_536, 256)
            ttl = next(int.from_bytes(value, sys.byteorder) for _, _, value in ancillary)
            text = data.decode(errors="replace")
            kind = text.partition(" ")[0]
            counted[kind] = counted.get(kind, 0) + 1
            if kind != "flood":
                say(event="received", payload=text, source=source[0], source_port=source[1], ttl=ttl)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]])
