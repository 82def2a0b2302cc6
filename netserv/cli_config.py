"""`netserv config`: look at a node's settings before it does, and make them from the thesis' form."""

import argparse
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from netserv import systemd_unit
from netserv.controller.config import NodeConfig, load_config, read_config
from netserv.controller.thesis_xml import FILE_MAX, toml_of_xml
from netserv.errors import LocalProtocolError


def run(options: argparse.Namespace) -> int:
    """Check, import or show.

    Raises:
        LocalProtocolError: a file cannot be read, or says what cannot be.
    """
    match options.action:
        case "check":
            config = load_config(options.file)
            print(json.dumps(summary(config)) if options.json else summary_text(options.file, config))
        case "unit":
            print(systemd_unit.unit(Path(sys.executable).absolute().parent / "netserv"), end="")
        case "import-xml":
            print(imported(options.file), end="")
        case _:
            print(resources.files("netserv.controller").joinpath("netserv.toml.example").read_text(), end="")
    return 0


def imported(path: Path) -> str:
    """The `netserv.toml` of a file of the thesis' form, which a node would read.

    Raises:
        LocalProtocolError: the file is none.
    """
    try:
        with path.open("rb") as file:
            text = toml_of_xml(file.read(FILE_MAX + 1))
        read_config(text)
    except OSError as error:
        raise LocalProtocolError(f"{path}: {error.strerror or error}") from error
    except LocalProtocolError as error:
        raise LocalProtocolError(f"{path}: {error}") from None
    return f"# From {path.name}, by `netserv config import-xml`.\n\n{text}"


def summary(config: NodeConfig) -> dict[str, Any]:
    """What a file says, in short."""
    policy = config.policy
    return {
        "state_dir": str(config.daemon.state_dir),
        "plane": config.plane,
        "ways": list(policy.ways),
        "blocks": dict(policy.blocks),
        "fetched_if_signed_by": list(policy.dependencies.publishers) if policy.dependencies.fetch else [],
        "publishers": {
            name: {
                "keys": len(rules.keys),
                "prefixes": list(map(str, rules.account.prefixes)),
                "ports": [f"{port.proto}/{port.port}" for port in rules.ports],
            }
            for name, rules in policy.publishers.items()
        },
        "warnings": warnings(config),
    }


def warnings(config: NodeConfig) -> list[str]:
    """What is allowed, and hardly meant."""
    found = []
    if not config.policy.publishers:
        found.append("no publishers: nobody can install anything")
    if not config.policy.ways:
        found.append("authorization.ways is empty: no module gets packets")
    if config.daemon.thesis_mode:
        found.append("signaling.thesis_mode: whoever hears a request can send it again")
    if config.policy.dependencies.publishers and not config.policy.dependencies.fetch:
        found.append("dependencies.publishers: nothing is fetched without dependencies.fetch = true")
    if any(prefix.prefixlen == 0 for prefix in config.http.allow):
        found.append("download.allow: publishers can have this node reach every address that it reaches itself")
    return found


def summary_text(path: Path, config: NodeConfig) -> str:
    """For people."""
    said = summary(config)
    lines = [f"{path} is in order: {len(said['publishers'])} publishers, {len(said['blocks'])} blocks"]
    for name, one in list(said["publishers"].items())[:100]:
        prefixes, ports = (", ".join(one[what]) or "none" for what in ("prefixes", "ports"))
        lines.append(f"  {name}: prefixes {prefixes}; ports {ports}")
    if said["fetched_if_signed_by"]:
        lines.append(f"  modules that others need are fetched if signed by {', '.join(said['fetched_if_signed_by'])}")
    lines += [f"warning: {warning}" for warning in said["warnings"]]
    return "\n".join(lines)
