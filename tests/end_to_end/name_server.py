"""A name server with one zone, run on a host of the laboratory: `python name_server.py ADDRESS ZONEFILE`."""

import socket
import sys
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.zone


def answer(zone: dns.zone.Zone, query: dns.message.Message) -> dns.message.Message:
    """Return the authoritative answer to a query with one question."""
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    (question,) = query.question
    node = zone.get_node(question.name) if question.name.is_subdomain(zone.origin) else None
    if node is None:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif (found := node.get_rdataset(question.rdclass, question.rdtype)) is not None:
        response.answer.append(dns.rrset.from_rdata_list(question.name, found.ttl, list(found)))
    return response


def main(address: str, zone_file: str) -> None:
    """Serve until killed."""
    zone = dns.zone.from_text(Path(zone_file).read_text(), "example.org.", relativize=False, check_origin=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        print("serving", flush=True)
        while True:
            data, client = server.recvfrom(4096)
            server.sendto(answer(zone, dns.message.from_wire(data)).to_wire(), client)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
