"""The unit by which systemd runs a node (systemd.service(5))."""

from pathlib import Path
from typing import Final

from mdht.systemd_words import unit_word

CONFIG: Final = Path("/etc/netserv/netserv.toml")
_UNIT: Final = """\
# Written by `netserv config unit`.
[Unit]
Description=NetServ node: modules of publishers on the path of their packets
Documentation=man:netserv(1)
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} run {config}
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=5
# Wrong usage stays wrong.
RestartPreventExitStatus=2
WatchdogSec=60
TimeoutStopSec=20
# The node ends its containers itself; what it leaves is killed.
KillMode=mixed
# It makes control groups for its containers, below its own.
Delegate=yes
StateDirectory=netserv
StateDirectoryMode=0700
# Containers are made of namespaces, mounts and devices, so that what forbids those cannot stand here.
ProtectHome=yes
ProtectClock=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
RestrictRealtime=yes
LockPersonality=yes
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def unit(program: Path, config: Path = CONFIG) -> str:
    """The text of the unit file.

    Args:
        program: absolute path of `netserv`.
        config: settings of the node.
    """
    return _UNIT.format(program=unit_word(program), config=unit_word(config))
