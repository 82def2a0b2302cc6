"""`netserv signal status`: how the daemon of this machine stands."""

import argparse

import msgspec

from netserv.signaling.control_client import ControlClient
from netserv.signaling.prometheus import exposition
from netserv.signaling.status import Status


async def run(options: argparse.Namespace) -> int:
    """Ask and print.

    Raises:
        NetservError: no daemon answers.
    """
    status = await ControlClient(options.control).status()
    if options.prometheus:
        print(exposition(status), end="")
    elif options.json:
        print(msgspec.json.encode(status).decode())
    else:
        print(status_text(status))
    return 0


def status_text(status: Status) -> str:
    """For people: a line for each thing."""
    ports = [f"UDP {status.port}"]
    ports += [f"TCP {status.association_port}"] if status.association_port else []
    ports += [f"TLS {status.secure_port}"] if status.secure_port else []
    gist = status.counters.get("gist", {})
    lines = (
        ("node", status.node_id),
        ("identity", status.identity),
        ("process", str(status.pid)),
        ("up for", f"{status.uptime_s:.0f} s"),
        ("addresses", ", ".join(status.addresses) or "none"),
        ("ports", ", ".join(ports)),
        ("catching", status.catching if status.catching != "none" else "nothing: only what comes to this host"),
        ("profile", status.profile),
        ("publishers", ", ".join(status.publishers) or "none: give --publishers"),
        ("probes", "of everybody" if status.public_probes else "signed ones only"),
        ("routing", f"{status.sessions} rows of state, of the two directions of sessions"),
        ("peers", str(status.peers)),
        ("associations", str(status.associations)),
        ("asking", f"{status.asking} requests of this machine"),
        ("received", f"{gist.get('received', 0)} datagrams, {gist.get('malformed', 0)} malformed"),
    )
    return "\n".join(f"{name + ':':<14}{value}" for name, value in lines)
