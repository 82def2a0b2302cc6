"""Sites that share a secret, and sites that are known by their keys; real Avahi on all links."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.end_to_end.sites import LIMIT_S, MDHT_PORT, bridge, command, holds, laboratory, names, shows, wait_line
from tools.netlab import Avahi, Host, wait_until
from z2z.keys import dht_key

pytestmark = pytest.mark.lab
NETWORKS = ("198.51.100.0/24", "203.0.113.0/24", "192.0.2.0/24")
NOTHING_S = 4.0
"Longer than a service takes that is let in."
FORGOTTEN_S = 12.0
"A look at the file of known sites, every 2 s here, and a look at the store, every three times that."


@dataclass(frozen=True)
class World:
    """Two exporting subnets and an importing one."""

    a: Host
    b: Host
    c: Host
    avahi_a: Avahi
    avahi_b: Avahi
    avahi_c: Avahi

    @property
    def entry(self) -> tuple[str, str]:
        return "--bootstrap", f"{self.c.ipv4}:{MDHT_PORT}"


@pytest.fixture
def world() -> Iterator[World]:
    with laboratory() as lab:
        links = [lab.subnet(name, network) for name, network in zip("xyz", NETWORKS, strict=True)]
        a, b, c = (lab.host(name, link) for name, link in zip("abc", links, strict=True))
        lab.router("router", *links)
        yield World(a, b, c, *lab.start_avahi(a, b, c))


def phrases(host: Host, *lines: str) -> tuple[str, str]:
    """The option that names a file with these secrets."""
    path = host.directory / f"secret-{len(list(host.directory.glob('secret-*')))}"
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    return "--secret-file", str(path)


def test_only_who_knows_the_secret_finds_what_is_exported_with_it(world: World) -> None:
    music = "Tom's Music"
    importer = bridge(world.c, "--import", "--key", "office", *phrases(world.c, "correct horse battery"))
    exporter = bridge(
        world.a, "--export", "_daap._tcp", "--key", "office", *phrases(world.a, "correct horse battery"), *world.entry
    )
    other = bridge(world.b, "--import", "--key", "office", *phrases(world.b, "another phrase"), *world.entry)
    world.avahi_a.publish(music, "_daap._tcp", 3689, ["txtvers=1"])
    wait_until(
        lambda: names(music)(world.avahi_c.browse("_daap._tcp")), LIMIT_S + 3.0, "the service", lambda: importer.log
    )
    holds(lambda: world.avahi_b.browse("_daap._tcp") == [], NOTHING_S, lambda: other.log)
    # What lies in the store under the word that everybody can guess, and under the name: nothing.
    for word in ("office", music):
        assert command(world.c, "mdht", "get", f"0x{dht_key(word).hex()}", *world.entry).returncode == 1
    # The secret is changed: first its importers know both, then the exporter has the new one.
    assert exporter.stop() == 0
    wait_until(lambda: world.avahi_c.browse("_daap._tcp") == [], LIMIT_S, "nothing")
    assert importer.stop() == 0
    importer = bridge(world.c, "--import", "--key", "office", *phrases(world.c, "staple anew", "correct horse battery"))
    for phrase in ("correct horse battery", "staple anew"):
        exporter = bridge(world.a, "--export", "_daap._tcp", "--key", "office", *phrases(world.a, phrase), *world.entry)
        wait_until(
            lambda: names(music)(world.avahi_c.browse("_daap._tcp")), LIMIT_S + 3.0, "the service", lambda: importer.log
        )
        assert exporter.stop() == 0
        wait_until(lambda: world.avahi_c.browse("_daap._tcp") == [], LIMIT_S, "nothing")


def test_a_site_is_known_by_the_first_key_and_another_one_is_refused_until_it_is_forgotten(world: World) -> None:
    importer = bridge(world.c, "--import", "--key", "office", "--poll", "2")
    bridge(world.a, "--export", "_daap._tcp", "--key", "office", "--site", "tom", *world.entry)
    world.avahi_a.publish("Music", "_daap._tcp", 3689)
    wait_until(
        lambda: shows("Music")(world.avahi_c.browse("_daap._tcp")), LIMIT_S + 3.0, "the service", lambda: importer.log
    )
    assert "tom" in command(world.c, "z2z", "identity", "show").stdout
    bridge(world.b, "--export", "_daap._tcp", "--key", "office", "--site", "Tom", *world.entry)
    world.avahi_b.publish("Trap", "_daap._tcp", 3689)
    wait_line(importer, "refused Trap", "was known by key", "z2z identity forget 'Tom'")
    holds(lambda: names("Music")(world.avahi_c.browse("_daap._tcp")), NOTHING_S, lambda: importer.log)
    assert "refused" in command(world.c, "z2z", "status").stdout
    assert command(world.c, "z2z", "identity", "forget", "TOM").returncode == 0
    wait_until(
        lambda: shows("Trap")(world.avahi_c.browse("_daap._tcp")), FORGOTTEN_S, "the other one", lambda: importer.log
    )


def test_only_sites_of_a_list_are_believed_and_the_list_may_change(world: World) -> None:
    own = command(world.a, "z2z", "identity", "export", "--site", "tom").stdout
    theirs = command(world.b, "z2z", "identity", "export", "--site", "eve").stdout
    listed = world.c.directory / "sites"
    listed.write_text(f"# ours\n{own}")
    importer = bridge(world.c, "--import", "--key", "office", "--poll", "2", "--trust", str(listed))
    for host, avahi, name, site in ((world.a, world.avahi_a, "Music", "tom"), (world.b, world.avahi_b, "Noise", "eve")):
        bridge(host, "--export", "_daap._tcp", "--key", "office", "--site", site, *world.entry)
        avahi.publish(name, "_daap._tcp", 3689)
    wait_line(importer, "refused Noise", "is not listed")
    wait_until(
        lambda: names("Music")(world.avahi_c.browse("_daap._tcp")), LIMIT_S + 3.0, "the service", lambda: importer.log
    )
    listed.write_text(theirs)
    wait_until(
        lambda: names("Noise")(world.avahi_c.browse("_daap._tcp")), FORGOTTEN_S, "the other one", lambda: importer.log
    )
    assert "not listed" in wait_line(importer, "removed Music")


def test_the_keys_of_a_site_go_from_one_command_to_the_other(world: World) -> None:
    line = command(world.a, "z2z", "identity", "export", "--site", "Tom").stdout
    assert command(world.c, "z2z", "identity", "trust", stdin=line).returncode == 0
    shown = command(world.c, "z2z", "identity", "show", "--json").stdout
    assert line.split()[0] in shown
    assert command(world.c, "z2z", "identity", "forget", line.split()[0]).returncode == 0
    again = command(world.c, "z2z", "identity", "forget", "tom")
    assert (again.returncode, again.stderr) == (1, "z2z: no site 'tom' is known; `z2z identity show` lists them\n")
    for words, stdin in ((["trust"], ""), (["trust", "/nowhere"], ""), (["trust"], "rubbish")):
        wrong = command(world.c, "z2z", "identity", *words, stdin=stdin)
        assert wrong.returncode == 1
        assert wrong.stderr.startswith("z2z: ")
        assert wrong.stderr.count("\n") == 1
