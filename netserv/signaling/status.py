"""How a signalling daemon stands, as `netserv signal status` shows it."""

from typing import Any

import msgspec


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """One daemon at one moment."""

    node_id: str
    "In response stacks."
    identity: str
    "Of GIST, towards peers; hexadecimal."
    pid: int
    uptime_s: float
    profile: str
    "Timing: `netserv` or `rfc`."
    catching: str
    "How packets that pass are caught: `tproxy`, `nfqueue` or `none`."
    port: int
    association_port: int | None
    secure_port: int | None
    addresses: tuple[str, ...]
    publishers: tuple[str, ...]
    "Whose signed requests are accepted."
    public_probes: bool
    asking: int
    "Requests of this machine that wait for their answer."
    associations: int
    sessions: int
    peers: int
    counters: dict[str, dict[str, int]]
    "By part of the daemon and name."
    node: dict[str, Any] = {}
    "Modules, containers and packet path; empty where there is only signalling."
    gist: dict[str, Any]
    "Sessions, associations and peers, each at most some hundreds of them."
