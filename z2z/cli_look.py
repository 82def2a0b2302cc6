"""`z2z browse` and `z2z status`: commands that only look."""

import msgspec
import trio

from z2z.cli_look_options import BrowseOptions, StatusOptions
from z2z.cli_output import Terminal
from z2z.cli_values import default_state_dir
from z2z.control import Answer, ask_all
from z2z.mdns.link_io import MdnsLink, open_link
from z2z.mdns.messages import ServiceChanged, ServiceFound, ServiceLost, ServiceRefused, TypeFound
from z2z.prometheus import exposition
from z2z.reports import endpoints, shown
from z2z.systemd_units import SYSTEM_STATE
from z2z.this_host import default_interface

TYPES_MAX = 200
"Types browsed at once; each costs a question on the link."


class SeenService(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service as `z2z browse --json` prints it."""

    service: str
    service_type: str
    host: str = ""
    where: tuple[str, ...] = ()
    subtypes: tuple[str, ...] = ()
    txt: tuple[str, ...] = ()
    refused: str = ""
    "Why it cannot be carried, if so."


async def browse(options: BrowseOptions, terminal: Terminal) -> int:
    """Print what the link shows within some seconds; status 1 if that is nothing."""
    interface = options.interface or default_interface()
    seen: dict[tuple[str, bytes], SeenService] = {}
    async with open_link(interface) as link, trio.open_nursery() as nursery:
        if options.service_type is not None:
            nursery.start_soon(_collect, link, options.service_type, seen)
        else:
            nursery.start_soon(_collect_types, link, seen)
        await trio.sleep(options.seconds)
        nursery.cancel_scope.cancel()
    services = [seen[key] for key in sorted(seen)]
    if options.json:
        terminal.records(services)
    elif services:
        rows = [
            (each.service_type, each.service, each.host, " ".join(each.where) or each.refused, " ".join(each.txt))
            for each in services
        ]
        terminal.table(("TYPE", "NAME", "HOST", "WHERE", "TXT"), rows)
    else:
        terminal.note(f"{interface} shows no {options.service_type or 'service'} in {options.seconds:g} s")
    return 0 if services else 1


async def _collect_types(link: MdnsLink, seen: dict[tuple[str, bytes], SeenService]) -> None:
    known: set[str] = set()
    async with link.browse_types() as events, trio.open_nursery() as nursery:
        async for event in events:
            if isinstance(event, TypeFound) and event.service_type not in known and len(known) < TYPES_MAX:
                known.add(event.service_type)
                nursery.start_soon(_collect, link, event.service_type, seen)


async def _collect(link: MdnsLink, service_type: str, seen: dict[tuple[str, bytes], SeenService]) -> None:
    async with link.browse(service_type) as events:
        async for event in events:
            match event:
                case ServiceFound(item=item) | ServiceChanged(item=item):
                    seen[item.service_type, item.instance] = SeenService(
                        service=item.display_name,
                        service_type=item.service_type,
                        host=shown(item.host),
                        where=endpoints(item),
                        subtypes=item.subtypes,
                        txt=txt_strings(item.txt),
                    )
                case ServiceLost(service_type=lost_type, instance=instance):
                    seen.pop((lost_type, instance), None)
                case ServiceRefused(service_type=bad_type, instance=instance, reason=reason):
                    seen[bad_type, instance] = SeenService(
                        service=shown(instance), service_type=bad_type, refused=reason
                    )


def txt_strings(txt: bytes) -> tuple[str, ...]:
    """Return the strings of TXT data as text, for people."""
    strings, at = [], 0
    while at < len(txt):
        strings.append(shown(txt[at + 1 : at + 1 + txt[at]]))
        at += 1 + txt[at]
    return tuple(string for string in strings if string)


async def status(options: StatusOptions, terminal: Terminal) -> int:
    """Print what running programs do; status 1 if none runs."""
    places = [options.state_dir]
    if options.state_dir == default_state_dir():
        places.append(SYSTEM_STATE)  # which only root may ask
    answers = [answer for place in places for answer in await ask_all(place)]
    if not answers:
        terminal.note(f"no z2z runs with state directory {' or '.join(map(str, places))}")
        return 1
    if options.prometheus:
        terminal.text(exposition(answers).rstrip("\n"))
        return 0
    for answer in answers:
        if options.json:
            terminal.records((answer.program, *answer.services))
        else:
            _print_answer(answer, terminal)
    return 0


def _print_answer(answer: Answer, terminal: Terminal) -> None:
    program = answer.program
    work = "; ".join((*(f"export {text}" for text in program.exports), *(f"import {text}" for text in program.imports)))
    keys = f" as {', '.join(program.keys)}" if program.keys else ""
    terminal.note(
        f"z2z {program.pid}: {work}{keys}; site {program.site} ({program.site_id}) on {program.interface}, "
        f"for {program.uptime_s:.0f} s"
    )
    if program.policy:
        terminal.note(f"  policy: {program.policy}")
    for name, text in program.stores.items():
        terminal.note(f"  {name}: {text}")
    rows = [
        (
            f"  {each.state}",
            each.shown_as or each.service,
            each.service_type,
            each.where[0] if each.where else "",
            each.site if each.role == "import" else ", ".join(each.keys),
            each.reason,
        )
        for each in answer.services
    ]
    if rows:
        terminal.table(("  STATE", "NAME", "TYPE", "WHERE", "KEYS OR SITE", "REASON"), rows)
