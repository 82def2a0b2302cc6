"""docs/recipes.md, with the files that stand there."""

import re
from pathlib import Path

import pytest

from tests.end_to_end.sites import PATIENCE_S, bridge, laboratory, names, wait_line
from tools.netlab import Host, Process

pytestmark = pytest.mark.lab
PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
SECRETS = ("/run/credentials/z2z.service/secret", "/home/tom/.config/z2z.secret")


def recipe(heading: str, machine: str) -> str:
    """The file of a machine in a recipe."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```toml\n# {machine}: \S+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, (heading, machine)
    return str(found[0])


def follow(host: Host, heading: str, machine: str) -> Process:
    """Run z2z on a host with the file of a machine; only the secret lies elsewhere here."""
    secret, config = host.directory / "secret", host.directory / "z2z.toml"
    secret.write_text("correct horse battery\n")
    secret.chmod(0o600)
    text = recipe(heading, machine)
    for path in SECRETS:
        text = text.replace(path, str(secret))
    assert f'secret-file = "{secret}"' in text
    config.write_text(text)
    return bridge(host, "--config", str(config))


def test_printers_are_seen_by_their_subtypes_on_the_link_of_the_people() -> None:
    with laboratory() as lab:
        printers, people = lab.subnet("printers", "10.1.0.0/24", first=7), lab.subnet("people", "10.2.0.0/24")
        a, b = lab.host("a", printers), lab.host("b", people)
        lab.router("router", printers, people)
        avahi_a, avahi_b = lab.start_avahi(a, b)
        assert a.ipv4 == "10.1.0.7"
        follow(a, "Printers", "printers")
        importer = follow(b, "Printers", "people")
        txt = ["rp=ipp/print", "URF=W8", "pdl=image/urf"]
        avahi_a.publish("Laser", "_ipp._tcp", 631, txt, ["_universal._sub._ipp._tcp", "_print._sub._ipp._tcp"])
        hidden = avahi_a.publish("Hidden", "_ipp._tcp", 632, ["z2z=no"])
        wait_line(importer, "imported Laser", "10.1.0.7:631", "from printers")
        for subtype in ("_universal._sub._ipp._tcp", "_print._sub._ipp._tcp"):
            avahi_b.watch(subtype).wait_for(names("Laser"), PATIENCE_S)
        hidden.withdraw()
