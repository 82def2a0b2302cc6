"""Which overlay to use, and how to be in it where no node of it runs on this machine."""

from pathlib import Path

import msgspec


class DhtSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which overlay, and how to be in it."""

    network: str = "z2z"
    bootstrap: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()
    presence: bool = True
    "Be a member of the link's subnet; else a subnet of its own."
    port: int | None = None
    "UDP port of a node of our own; None: any."
    key_file: Path | None = None
    "Passphrase that the hosts of the overlay share."
    host_keys: bool = False
    allow_private: bool = False
    mdht_state_dir: Path | None = None
    "Of the running `mdht run`; None: where that keeps it by default."
    own_node: bool = False
    "Do not use a running one."
