"""Landlock: what a container may do with files, TCP ports and signals, whatever its users and mounts say (landlock(7)).

In its directories a container makes files, directories and links, and no devices, pipes or sockets; elsewhere it reads.
Handled rights that no rule gives are refused: execution, devices, and with newer kernels TCP ports, abstract UNIX
sockets of others and signals to others.
"""

import os
import struct
from collections.abc import Sequence
from typing import Final

from netserv.container.kernel import call
from netserv.errors import SystemRefusedError

WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
REMOVE_DIR: Final = 1 << 4
REMOVE_FILE: Final = 1 << 5
MAKE_DIR: Final = 1 << 7
MAKE_REG: Final = 1 << 8
MAKE_SYM: Final = 1 << 12
REFER: Final = 1 << 13
TRUNCATE: Final = 1 << 14

READING: Final = READ_FILE | READ_DIR
WRITING: Final = READING | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM | REFER | TRUNCATE
FILE_RIGHTS: Final = WRITE_FILE | READ_FILE | TRUNCATE
"Those that a rule for a single file may name."
_HANDLED_FILES: Final = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
"All rights on files that a version of the interface knows; the fifth and later are the same."
_TCP: Final = 0b11
"LANDLOCK_ACCESS_NET_BIND_TCP and CONNECT_TCP, since version 4."
_SCOPES: Final = 0b11
"LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and SIGNAL, since version 6."
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1


def version() -> int:
    """Which version of Landlock this kernel has; 0 for none."""
    try:
        return call("landlock_create_ruleset", None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(writable: Sequence[str], devices: Sequence[str]) -> None:
    """Put this process under the rules, for good; `writable` are directories, `devices` files to read and write.

    Raises:
        SystemRefusedError: the kernel has no Landlock, or no_new_privs is not set.
    """
    known = version()
    if not known:
        raise SystemRefusedError("this kernel has no Landlock; start it with `lsm=landlock,...` on its command line")
    handled = _HANDLED_FILES[min(known, 5)]
    rules = struct.pack("=QQQ", handled, _TCP if known >= 4 else 0, _SCOPES if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    try:
        ruleset = call("landlock_create_ruleset", rules, size, 0)
        try:
            _allow(ruleset, "/", READING)
            for path in writable:
                _allow(ruleset, path, WRITING & handled)
            for path in devices:
                _allow(ruleset, path, FILE_RIGHTS & handled)
            call("landlock_restrict_self", ruleset, 0)
        finally:
            os.close(ruleset)
    except OSError as error:
        raise SystemRefusedError(f"Landlock: {error.strerror}") from error


def _allow(ruleset: int, path: str, rights: int) -> None:
    beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        call("landlock_add_rule", ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, beneath), 0)
    finally:
        os.close(beneath)
