"""Opens connections from several addresses and says nothing on them, until SIGTERM: TARGET PORT COUNT ADDRESS.."""

import signal
import socket
import sys


def main(target: str, port: int, count: int, *addresses: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    opened = []
    for number in range(count):
        sock = socket.socket()
        sock.bind((addresses[number % len(addresses)], 0))
        sock.connect((target, port))
        opened.append(sock)
    print(f"{len(opened)} connections", flush=True)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
