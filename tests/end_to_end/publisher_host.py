"""A publisher who deploys modules in a laboratory."""

import json
from subprocess import CompletedProcess
from typing import Any

from tests.end_to_end.sites import command, json_lines
from tools.netlab import Host


class PublisherHost:
    """A publisher on a host.

    Args:
        host: where.
        user: his name.
        toward: the other end of the path.
    """

    def __init__(self, host: Host, user: str, toward: Host) -> None:
        self.host, self.user, self.toward = host, user, toward
        line = command(host, "netserv", "key", "new", f"{user}.pem", "--user", user).stdout
        self.public_key = line.split('"')[1]
        self.signed = ("--key", f"{user}.pem", "--user", user)

    def build(self, name: str, text: str, manifest: str = "", version: str = "1.0.0") -> str:
        """Pack and sign a module of one file; the name of the bundle's file."""
        source = self.host.directory / f"{name}-{version}"
        source.mkdir()
        lines = f'name = "{name}"\nversion = "{version}"\nentry = "code_of:Module"\n{manifest}\n'
        (source / "module.toml").write_text(lines)
        (source / "code_of.py").write_text(text)
        bundle = f"{name}_{version}.zip"
        done = command(self.host, "netserv", "module", "build", source.name, "--key", f"{self.user}.pem", "-o", bundle)
        assert done.returncode == 0, done
        return bundle

    def deploy(self, bundle: str, *arguments: str) -> list[tuple[str, int, str]]:
        """Deploy it; node, code and text of each node at the end, nearest first."""
        done = self.run("deploy", bundle, *arguments)
        lines = json_lines(done.stdout)
        assert lines, done
        return nodes_of(lines[-1])

    def remove(self, module: str, *arguments: str) -> list[tuple[str, int, str]]:
        """Remove it."""
        done = self.run("remove", module, *arguments)
        assert done.stdout, done
        return nodes_of(json.loads(done.stdout))

    def run(self, word: str, what: str, *arguments: str) -> CompletedProcess[str]:
        """Run a command towards the other end."""
        return command(
            self.host, "netserv", word, what, "--toward", self.toward.ipv4, *self.signed, "--json", *arguments
        )


def nodes_of(line: dict[str, Any]) -> list[tuple[str, int, str]]:
    """What a line says of each node."""
    return [(node["node_id"], node["code"], node["text"]) for node in line["nodes"]]
