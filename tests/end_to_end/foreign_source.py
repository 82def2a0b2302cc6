"""Sends one datagram from an address that the link does not have: INTERFACE SOURCE GROUP PORT, and hex on stdin."""

import socket
import struct
import sys

interface, source, group, port = sys.argv[1:]
data = bytes.fromhex(sys.stdin.read())
request = struct.pack("4s4si", bytes(4), socket.inet_aton(source), socket.if_nametoindex(interface))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind((source, 0))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, request)
    sock.sendto(data, (group, int(port)))
