"""Where nodes of the DHT may run on this machine, to be asked: `mdht run`, and those inside z2z."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mdht.control import ControlClient, control_path
from mdht.errors import MdhtError

NODES_MAX: Final = 32
"Directories looked into; a machine has one node for each network and each program."


@dataclass(frozen=True, slots=True)
class NodePlace:
    """A directory in which a node may run."""

    directory: Path
    by: Literal["mdht", "z2z"]


def node_places(mdht_dirs: Sequence[Path], z2z_dirs: Sequence[Path]) -> list[NodePlace]:
    """Find where nodes may run.

    Args:
        mdht_dirs: state directories of `mdht run`, or directories of such.
        z2z_dirs: state directories of z2z.
    """
    places: list[NodePlace] = []
    for directory in mdht_dirs:
        inside = sorted(each for each in directory.glob("net-*") if each.is_dir())
        places += [NodePlace(each, "mdht") for each in inside or [directory]]
    for directory in z2z_dirs:
        # One copy of z2z each, those that ran last first; others have left theirs.
        copies = sorted(directory.glob("copies/*/mdht"), key=_changed_at, reverse=True)
        places += [NodePlace(each, "z2z") for each in copies]
    return places[:NODES_MAX]


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # it went while we looked
        return 0.0


def control_of(place: NodePlace) -> ControlClient | None:
    """By which to ask the node there, None where nobody may."""
    try:
        return ControlClient(control_path(place.directory, os.environ))
    except MdhtError:  # the directory of its socket belongs to somebody else
        return None
