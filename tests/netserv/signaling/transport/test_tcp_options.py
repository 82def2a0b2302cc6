import socket

import trio

from netserv.signaling.transport.tcp_options import RETRY_MAX_MS, retry_soon


async def test_a_connection_on_which_packets_are_lost_tries_again_soon() -> None:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        retry_soon(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, 16) == 1
        try:
            pause_ms = sock.getsockopt(socket.IPPROTO_TCP, 44)
        except OSError:  # a kernel before 6.15
            return
        assert pause_ms == RETRY_MAX_MS


async def test_a_kernel_that_has_no_such_options_is_as_good() -> None:
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        retry_soon(sock)
