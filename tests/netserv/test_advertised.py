"""What settings of a node say of its advertising."""

from pathlib import Path

import pytest

from netserv.advertised import _settings
from netserv.controller.config import DiscoveryConfig
from netserv.controller.policy import DependencyRules, Policy
from netserv.errors import LocalProtocolError
from netserv_discovery.location import Location
from netserv_discovery.policy import DEFAULT, Reach, Where
from z2z.cover import PLAIN

RULES = Policy()


def test_a_node_is_advertised_as_the_command_does_it() -> None:
    settings, location = _settings(DiscoveryConfig(bootstrap=("192.0.2.1:1",), location="40.7,-74.0"), RULES)
    assert (settings.policy, settings.cover, settings.joins) == (DEFAULT, PLAIN, False)
    assert settings.dht.bootstrap == ("192.0.2.1:1",)
    assert location == Location(40.7, -74.0)
    fetching = Policy(dependencies=DependencyRules(fetch=True))
    assert _settings(DiscoveryConfig(), fetching)[0].joins, "modules are looked for in the DHT"


def test_sites_and_their_secret_are_those_of_z2z(tmp_path: Path) -> None:
    policy, secret = tmp_path / "policy.toml", tmp_path / "secret.txt"
    policy.write_text('[sites]\nkeys = ["lab"]\nshow = ["blocks"]\n')
    secret.touch(mode=0o600)
    secret.write_text("correct horse battery\n")
    settings, _ = _settings(DiscoveryConfig(policy=policy, sites=("office", "lab"), secret_file=secret), RULES)
    view = settings.policy.view(Where.SITES)
    assert (view.keys, view.show) == (("lab", "office"), {"blocks"})
    assert settings.cover.fingerprint
    assert settings.cover.key("office") != PLAIN.key("office")


def test_private_addresses_are_told_outside_of_the_link_where_the_operator_says_so() -> None:
    for allowed in (False, True):
        settings, _ = _settings(DiscoveryConfig(allow_private=allowed), RULES)
        assert settings.dht.allow_private == allowed
        assert (settings.policy.view(Where.DHT).addresses is Reach.ALL) == allowed


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (DiscoveryConfig(sites=("!",)), "discovery: key '!' has no letter and no digit"),
        (DiscoveryConfig(secret_file=Path("/nowhere")), "discovery: .*/nowhere"),
        (DiscoveryConfig(location="x"), "discovery: "),
    ],
)
def test_what_cannot_be_is_told(config: DiscoveryConfig, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        _settings(config, RULES)
