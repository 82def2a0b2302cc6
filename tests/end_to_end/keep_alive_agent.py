"""A user agent: sends what it is told by lines `HEX` on its standard input, and prints who answers what, as JSON.

python keep_alive_agent.py OWN-ADDRESS OWN-PORT SERVER PORT
"""

import json
import socket
import sys

WAIT_S = 1.0


def main() -> None:
    own, own_port, server, port = sys.argv[1:]
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((own, int(own_port)))
        sock.settimeout(WAIT_S)
        for line in sys.stdin:
            sock.sendto(bytes.fromhex(line), (server, int(port)))
            try:
                data, address = sock.recvfrom(65_535)
                print(json.dumps({"from": address[0], "port": address[1], "data": data.hex()}))
            except TimeoutError:
                print(json.dumps({}))


main()
