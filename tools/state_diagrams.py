"""Draws the state machines of the protocols as Mermaid diagrams, from the very tables that run.

    python -m tools.state_diagrams            print them
    python -m tools.state_diagrams --write    put them into the documents

A document holds each diagram between the lines `<!-- diagram: NAME -->` and `<!-- end of diagram -->`.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Final, NamedTuple

from dhtboot import bootstrap_client
from dhtboot.chord import join as chord_join
from dhtboot.kademlia import join
from netserv.controller import states as installation
from netserv.publisher.keep_alives import agents
from netserv.signaling.gist import association, querying, responding

DOCS: Final = Path(__file__).parent.parent / "docs"


class Machine(NamedTuple):
    """One table and where its diagram stands."""

    document: str
    start: Enum
    transitions: Mapping[tuple[Any, Any], tuple[Any, Any]]
    no_action: Enum | None


MACHINES: Final[Mapping[str, Machine]] = {
    "join": Machine("kademlia.md", join.Phase.NEW, join.TRANSITIONS, join.JoinAction.NONE),
    "chord join": Machine("chord.md", chord_join.Phase.NEW, chord_join.TRANSITIONS, chord_join.JoinAction.NONE),
    "bootstrap client": Machine(
        "kademlia.md",
        bootstrap_client.Phase.IDLE,
        bootstrap_client.TRANSITIONS,
        bootstrap_client.ClientAction.NONE,
    ),
    "querying node": Machine("gist.md", querying.State.NEW, querying.TRANSITIONS, querying.Action.NONE),
    "responding node": Machine("gist.md", responding.State.NEW, responding.TRANSITIONS, responding.Action.NONE),
    "messaging association": Machine(
        "gist.md", association.State.AWAITING_CONNECTION, association.TRANSITIONS, association.Action.NONE
    ),
    "installation": Machine(
        "controller.md", installation.State.NEW, installation.TRANSITIONS, installation.Action.NONE
    ),
    "user agent": Machine(
        "apps.md", agents.State.DEPLOYING, {step: (after, None) for step, after in agents.TRANSITIONS.items()}, None
    ),
}


def mermaid(machine: Machine) -> str:
    """Return the diagram of one table, in the order of its rows."""
    lines = ["stateDiagram-v2", f"    [*] --> {machine.start.value}"]
    for (state, event), (after, action) in machine.transitions.items():
        doing = "" if action is machine.no_action or action is None else f" / {action.value}"
        lines.append(f"    {state.value} --> {after.value}: {event.value}{doing}")
    return "\n".join(lines)


def with_diagrams(document: str, text: str) -> str:
    """Return a document's text with its diagrams as the tables have them now.

    Raises:
        ValueError: the document has no place for one of them.
    """
    for name, machine in MACHINES.items():
        if machine.document != document:
            continue
        block = f"<!-- diagram: {name} -->\n```mermaid\n{mermaid(machine)}\n```\n<!-- end of diagram -->"
        place = re.compile(rf"<!-- diagram: {re.escape(name)} -->.*?<!-- end of diagram -->", re.DOTALL)
        text, count = place.subn(block.replace("\\", r"\\"), text)
        if count != 1:
            raise ValueError(f"docs/{document} needs exactly one place for the diagram {name!r}, it has {count}")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Print or write all diagrams."""
    parser = argparse.ArgumentParser(prog="state_diagrams", description="Draw the state machines from their tables.")
    parser.add_argument("--write", action="store_true", help="put the diagrams into docs/")
    options = parser.parse_args(argv)
    if not options.write:
        print("\n\n".join(mermaid(machine) for machine in MACHINES.values()))
        return 0
    for document in sorted({machine.document for machine in MACHINES.values()}):
        path = DOCS / document
        path.write_text(with_diagrams(document, path.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
