"""The units by which systemd runs `z2z` and `mdht run`: for the machine (systemd.service(5)), or for one user of it.

The system's services run as a user of their own that exists while they do (`DynamicUser=`), without capabilities: the
sockets of a link need none (Linux lets anybody bind an unbound socket to an interface since 5.7).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

from mdht.systemd_words import unit_word

UnitName = Literal["z2z", "mdht"]
NAMES: Final[tuple[UnitName, ...]] = ("z2z", "mdht")
MARK: Final = "# Written by `z2z install-units`, and by it again: changes belong into `systemctl edit`.\n"
SYSTEM_CONFIG: Final = Path("/etc/z2z/z2z.toml")
SYSTEM_STATE: Final = Path("/var/lib/z2z")
"Where `%S` leads for a service of the system."
HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - names, of what the units hide
"What `ProtectHome=` and `PrivateTmp=` keep out of a service's sight."

_DESCRIPTIONS: Final[dict[UnitName, str]] = {
    "z2z": "Zeroconf-to-Zeroconf bridge of DNS-SD services",
    "mdht": "node of the multicast DHT (mdht)",
}
_UNIT: Final = """\
[Unit]
Description={description}
Documentation=man:{name}(1)
{after}# A link that comes late is waited for.
StartLimitIntervalSec=0

[Service]
Type=notify
{exec}Restart=on-failure
RestartSec=5
# Wrong usage stays wrong.
RestartPreventExitStatus=2
WatchdogSec=60
# Its own clean-up takes 5 s at most.
TimeoutStopSec=15
{sandbox}# For services of a user these hold as well.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
# Netlink tells of interfaces and their addresses.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077

[Install]
WantedBy={target}
"""
_AFTER: Final = "Wants=network-online.target\nAfter=network-online.target\n"
_SANDBOX: Final = """\
DynamicUser=yes
StateDirectory={name}
StateDirectoryMode=0700
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateUsers=yes
ProtectHostname=yes
ProtectClock=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
RemoveIPC=yes
"""


def unit(name: UnitName, program: Path, *, user: bool) -> str:
    """The text of a unit file.

    Args:
        name: of the program and the unit.
        program: absolute path of the program.
        user: for `systemctl --user`, with that user's own configuration and state.
    """
    return MARK + _UNIT.format(
        name=name,
        description=_DESCRIPTIONS[name],
        after="" if user else _AFTER,  # a user's manager knows nothing of the system's targets
        exec=_exec(name, program, user=user),
        sandbox="" if user else _SANDBOX.format(name=name),
        target="default.target" if user else "multi-user.target",
    )


def _exec(name: UnitName, program: Path, *, user: bool) -> str:
    state = "" if user else f" --state-dir=%S/{name}"
    if name == "z2z":
        config = "" if user else f" --config={SYSTEM_CONFIG}"
        return f"ExecStart={unit_word(program)}{config}{state}\nExecReload=/bin/kill -HUP $MAINPID\n"
    options = "%E/mdht.env" if user else "/etc/default/mdht"
    return (
        f"# There, as in MDHT_OPTIONS=--bootstrap peer.example.org:27183\nEnvironmentFile=-{options}\n"
        f"ExecStart={unit_word(program)} run{state} $MDHT_OPTIONS\n"
    )


def out_of_reach(paths: Iterable[Path]) -> Path | None:
    """The first of these, or of the directories above, that a service with a user of its own cannot reach."""
    for path in paths:
        for each in (*reversed(path.parents), path):
            if str(each) in HIDDEN or not each.stat().st_mode & 0o001 << 2 * each.is_file():
                return each
    return None
