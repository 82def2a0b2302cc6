"""Sends IP packets whose header is our own: what goes on under the source it came with."""

import errno
import logging
import socket
from collections import Counter
from contextlib import ExitStack
from typing import Final, Self

from netserv.errors import SystemRefusedError
from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.transport import ancillary

log = logging.getLogger(__name__)

_IPV6_HDRINCL: Final = 36


class RawSender:
    """A raw socket per family; it receives nothing, as protocol 255 is nobody's.

    One raw socket sends for any source, where UDP sockets bound to the foreign source would be one for each flow.
    """

    def __init__(self, sockets: dict[int, socket.socket]) -> None:
        self.counters: Counter[str] = Counter()
        self._sockets = sockets
        "By the size of an address."

    @classmethod
    def open(cls) -> Self:
        """Open it for IPv4, and for IPv6 where this machine has that.

        Raises:
            SystemRefusedError: this process may not.
        """
        with ExitStack() as opened:
            sockets: dict[int, socket.socket] = {}
            try:
                for size, family in ancillary.FAMILIES.items():
                    try:
                        sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW)
                    except OSError as error:
                        if family == socket.AF_INET6 and error.errno == errno.EAFNOSUPPORT:
                            continue
                        raise
                    opened.enter_context(sock)
                    sock.setblocking(False)
                    if family == socket.AF_INET6:
                        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
                    if not ancillary.make_transparent(sock):
                        raise PermissionError(errno.EPERM, "CAP_NET_ADMIN is missing")
                    sockets[size] = sock
            except OSError as error:
                raise SystemRefusedError(
                    f"packets with a foreign source cannot be sent: {error.strerror}; "
                    "run as root, or with the capabilities CAP_NET_RAW and CAP_NET_ADMIN"
                ) from error
            opened.pop_all()
            return cls(sockets)

    def descriptor(self, size: int) -> int:
        """The socket for addresses of so many bytes; -1 where this machine has none."""
        sock = self._sockets.get(size)
        return -1 if sock is None else sock.fileno()

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            sock.close()

    def send(self, packet: bytes, source: PackedAddress, destination: PackedAddress) -> bool:
        """Send a packet on its way; False, and a counter, where the kernel does not take it.

        Never waits: what does not fit into the send buffer is lost, as anywhere in the network.
        """
        sock = self._sockets.get(len(destination))
        if sock is None:
            self.counters["no_ipv6"] += 1
            return False
        to = (socket.inet_ntop(ancillary.FAMILIES[len(destination)], destination), 0)
        try:
            sock.sendmsg([packet], ancillary.say_source(source), 0, to)
        except BlockingIOError:
            self.counters["send_buffer_full"] += 1
        except OSError as error:
            name = "too_large" if error.errno == errno.EMSGSIZE else "unsendable"
            self.counters[name] += 1
            log.debug("a packet of %d bytes to %s was not sent: %s", len(packet), to[0], error)
        else:
            return True
        return False
