"""A name server whose names have another address each time: `python turning_names.py ADDRESS NAME=A,B,...`."""

import itertools
import socket
import sys

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset


def main(address: str, *names: str) -> None:
    """Serve until killed: each A query of a name has the next of its addresses for an answer."""
    turns = {}
    for name in names:
        host, _, addresses = name.partition("=")
        turns[f"{host}."] = itertools.cycle(addresses.split(","))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        print("serving", flush=True)
        while True:
            data, client = server.recvfrom(4096)
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query)
            response.flags |= dns.flags.AA
            (question,) = query.question
            turn = turns.get(question.name.to_text().lower())
            if turn is not None and question.rdtype == dns.rdatatype.A:
                response.answer.append(dns.rrset.from_text(question.name, 0, "IN", "A", next(turn)))
            server.sendto(response.to_wire(), client)


if __name__ == "__main__":
    main(*sys.argv[1:])
