"""`z2z identity`: the keys of this site and of others."""

import sys
from pathlib import Path

import msgspec

from mdht.signing import SigningKey
from z2z.cli_identity_options import IdentityOptions
from z2z.cli_output import Terminal
from z2z.errors import LocalProtocolError
from z2z.known_sites import FILE_MAX, FILE_NAME, change_known, read_known, sites_in
from z2z.seal import site_id
from z2z.trust import Known, folded, listing


class ShownSite(msgspec.Struct, frozen=True, kw_only=True):
    """A site as `z2z identity show --json` prints it."""

    site: str
    site_id: str
    key: str
    own: bool


def identity(options: IdentityOptions, terminal: Terminal) -> int:
    """Do what is asked; always 0, as whatever cannot be done is raised.

    Raises:
        LocalProtocolError: a file cannot be used, or a line in it is wrong.
        mdht.errors.LocalProtocolError: the identity cannot be used.
    """
    path = options.state_dir / FILE_NAME
    match options.action:
        case "show":
            _show(options, terminal, path)
            return 0
        case "export":
            key = SigningKey.load_or_create(options.identity).public_key
            terminal.text(listing([Known(options.site_name, key)]).rstrip("\n"))
            return 0
        case "trust":
            found = _read(options.subject)
            change_known(path, lambda sites: sites.update(found))
            for one in found:
                terminal.text(f"site {one.name} is known by key {site_id(one.key).hex()}")
            return 0
        case "forget":
            return _forget(options.subject, terminal, path)


def _show(options: IdentityOptions, terminal: Terminal, path: Path) -> None:
    own = SigningKey.load_or_create(options.identity).public_key
    sites = [
        ShownSite(site=name, site_id=site_id(key).hex(), key=key.hex(), own=key == own)
        for name, key in [(options.site_name, own), *((one.name, one.key) for one in sorted(read_known(path)))]
    ]
    if options.json:
        terminal.records(sites)
        return
    terminal.text(f"this site: {options.site_name}, kept in {options.identity}; others: {path}")
    rows = [(each.site, each.site_id, each.key, "this site" if each.own else "") for each in sites]
    terminal.table(("NAME", "ID", "KEY", ""), rows)


def _read(subject: str) -> list[Known]:
    if subject != "-":
        if not Path(subject).exists():
            raise LocalProtocolError(f"there is no file {subject}")
        found = read_known(Path(subject))
    else:
        found = sites_in(sys.stdin.buffer.read(FILE_MAX + 1), "standard input")
    if not found:
        where = "standard input" if subject == "-" else subject
        raise LocalProtocolError(f"{where} has no key; `z2z identity export` on the other site prints its line")
    return found


def _forget(subject: str, terminal: Terminal, path: Path) -> int:
    gone: list[Known] = []

    def change(sites: set[Known]) -> None:
        wanted = folded(subject)
        gone.extend(one for one in sites if wanted in {one.name, site_id(one.key).hex(), one.key.hex()})
        sites.difference_update(gone)

    change_known(path, change)
    for one in sorted(gone):
        terminal.text(f"site {one.name}, key {site_id(one.key).hex()}, is forgotten")
    if not gone:
        raise LocalProtocolError(f"no site {subject!r} is known; `z2z identity show` lists them")
    return 0
