"""`netserv.toml`: what it says, and what it is told when it is wrong."""

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest

import netserv.controller
from netserv.controller.config import NodeConfig, load_config, read_config
from netserv.controller.policy import DependencyRules, Way
from netserv.errors import LocalProtocolError
from netserv.modules.blocks import BLOCKS
from netserv.modules.manifest import PortWish
from netserv.signaling.daemon_config import DaemonConfig
from tests.netserv.controller.wishes import ALICE, BOB

EXAMPLE = Path(netserv.controller.__file__).with_name("netserv.toml.example")
KEY = base64.b64encode(ALICE.public_key).decode()
PUBLISHER = f'[publishers.alice]\nkey = "{KEY}"\n'
WITHOUT = ("id", "interfaces", "neighbours", "policy", "address", "sandbox_dir", "modules ", "extra")
"Settings for which nothing holds otherwise."


def test_the_example_is_read_with_all_that_it_names() -> None:
    config = load_config(EXAMPLE)
    alice = config.policy.publishers["alice"]
    assert alice.keys == (ALICE.public_key,)
    assert alice.account.prefixes == (ip_network("10.1.0.0/16"),)
    assert alice.ports == (PortWish("tcp", 8080), PortWish("udp", 5060))
    assert config.policy.ways == (Way.PREFIX, Way.ROUTABILITY)
    assert config.http.allow == (ip_network("10.0.0.0/8"),)
    assert config.plane == "auto"
    assert config.packet_deadline_s == 0.005


def test_what_the_example_comments_out_is_what_holds_otherwise() -> None:
    lines = EXAMPLE.read_text().splitlines()
    switched_on = []
    for line in lines:
        bare = line.removeprefix("# ")
        is_setting = line.startswith("# ") and " = " in bare and bare.split(" = ")[0].isidentifier()
        named = (
            "id",
            "interfaces",
            "neighbours",
            "policy",
            "address",
            "sandbox_dir",
            "modules ",
            "extra",
        )  # which have none
        skipped = is_setting and (bare.startswith(named) or "/etc/" in bare)
        switched_on.append(bare if is_setting and not skipped else line)
    text = "\n".join(switched_on)
    assert text != "\n".join(lines)
    assert read_config(text) == load_config(EXAMPLE)


def test_an_empty_file_is_a_node_that_nobody_may_use() -> None:
    config = read_config("")
    assert config.policy.publishers == {}
    assert config.daemon == DaemonConfig(state_dir=Path("/var/lib/netserv"))
    assert config.http.allow == ()


def test_blocks_are_those_of_this_version_but_for_what_the_operator_says() -> None:
    assert read_config("").policy.blocks == BLOCKS
    text = '[blocks]\noffered = ["timers"]\nextra = { ffmpeg = "5.1" }'
    assert read_config(text).policy.blocks == {"timers": BLOCKS["timers"], "ffmpeg": "5.1"}


def test_a_publisher_may_have_several_keys() -> None:
    both = ", ".join(f'"{base64.b64encode(key.public_key).decode()}"' for key in (ALICE, BOB))
    config = read_config(f"[publishers.alice]\nkey = [{both}]\n")
    assert config.policy.keys_of("alice") == (ALICE.public_key, BOB.public_key)


def test_whose_modules_are_fetched_for_others_says_the_operator() -> None:
    assert read_config("").policy.dependencies == DependencyRules()
    keys = [base64.b64encode(key.public_key).decode() for key in (ALICE, BOB)]
    rules = read_config(f"""
[discovery]
advertise = true
[dependencies]
fetch = true
publishers = {{ carol = "{keys[0]}", dave = ["{keys[1]}"] }}
bundle_bytes = 1_000_000
timeout_s = 20
searches = 2
""").policy.dependencies
    assert rules == DependencyRules(
        fetch=True,
        publishers={"carol": (ALICE.public_key,), "dave": (BOB.public_key,)},
        bundle_bytes_max=1_000_000,
        timeout_s=20.0,
        searches_max=2,
    )
    assert rules.keys_beside(BOB.public_key) == (BOB.public_key,)
    assert rules.name_of(ALICE.public_key) == "carol"
    assert rules.name_of(bytes(32)) == "0" * 16


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "not TOML: "),
        ("[nodes]", "nodes: no such table; there are node, signaling, caps"),
        ("[node]\nplain = 1", "node: object contains unknown field `plain`; there are id, state_dir"),
        ('[node]\nplane = "fast"', "node.plane: invalid enum value 'fast'"),
        ("[node]\npacket_deadline_ms = 0.1", "node.packet_deadline_ms: expected `float` >= 0.5"),
        ("[node]\nstate_dir = 1", "node.state_dir: expected `str`, got `int`"),
        ("node = 1", "node: expected `object`, got `int`"),
        ('[signaling]\nneighbours = ["x"]', "signaling.neighbours[0]: 'x' is no IP address"),
        ("[signaling]\nvalidity_s = 0.5", "signaling.validity_s: expected `float` >= 1.0"),
        ('[signaling]\ntls_key = "x"', "signaling: a certificate comes with its key"),
        ("[signaling]\nport = 271", "signaling: packets that pass are for port 270"),
        ("[caps]\nttl_s = 0", "caps.ttl_s: expected `int` >= 1"),
        ('[authorization]\nways = ["money"]', "authorization.ways[0]: invalid enum value 'money'"),
        ('[authorization]\nways = ["prefix", "prefix"]', "authorization.ways: names one way twice"),
        ('[download]\nallow = ["10.0.0.1/8"]', "download.allow[0]: '10.0.0.1/8' is no prefix"),
        ('[download]\nschemes = ["ftp"]', "download.schemes[0]: invalid enum value 'ftp'"),
        ("[download]\nuid = 0", "download.uid: expected `int` >= 1"),
        ('[blocks]\noffered = ["magic"]', "blocks.offered[0]: no block 'magic'; there are dispatcher"),
        ('[blocks.extra]\nffmpeg = "new"', "blocks.extra.ffmpeg: 'new' is no version"),
        (
            "[dependencies]\nfetch = true",
            "dependencies.fetch: modules are looked for in the DHT, where the node is with discovery.advertise = true",
        ),
        (
            "[discovery]\nadvertise = true\n[dependencies]\nfetch = true",
            "dependencies.publishers: anybody may say where a bundle is",
        ),
        ('[dependencies.publishers]\ncarol = "x"', "dependencies.publishers.carol: 32 bytes in base64 are needed"),
        ("[dependencies]\nbundle_bytes = 1", "dependencies.bundle_bytes: expected `int` >= 1024"),
        ("publishers = 1", "publishers: write a table for each"),
        ("[publishers.alice]", "publishers.alice: object missing required field `key`"),
        ('[publishers.alice]\nkey = "x"', "publishers.alice.key: 32 bytes in base64 are needed"),
        ("[publishers.alice]\nkey = []", "publishers.alice.key: one key, or a list of 1 to 4"),
        (f'[publishers."a b"]\nkey = "{KEY}"', "publishers.a b: name 'a b' is not of letters"),
        (f"{PUBLISHER}prefixes = ['0.0.0.0/0']", "publishers.alice.prefixes[0]: 0.0.0.0/0 is everybody's traffic"),
        (f"{PUBLISHER}prefixes = ['::/0']", "publishers.alice.prefixes[0]: ::/0 is everybody's traffic"),
        (f"{PUBLISHER}ports = ['8080']", "publishers.alice.ports[0]: '8080' is no port; write \"tcp/8080\""),
        (f"{PUBLISHER}ports = ['tcp/0']", "publishers.alice.ports[0]: 'tcp/0' is no port"),
        (f"{PUBLISHER}ports = ['tcp/65536']", "publishers.alice.ports[0]: 'tcp/65536' is no port"),
        (f"{PUBLISHER}ports = ['udp/270']", "publishers.alice.ports[0]: port 270 is that of signalling"),
        (f"{PUBLISHER}limits = {{ pids = 1 }}", "publishers.alice.limits.pids: expected `int` >= 4"),
        (f"{PUBLISHER}sandbox = 'x'", "publishers.alice: object contains unknown field `sandbox`; there are key"),
        (f'{PUBLISHER}[publishers.bob]\nkey = "{KEY}"', "publishers.bob.key: is that of alice, too"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_what_would_be_right(text: str, said: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        read_config(text)
    assert str(caught.value).startswith(said)


def test_a_file_is_named_in_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "netserv.toml"
    with pytest.raises(LocalProtocolError, match=r"netserv\.toml: No such file"):
        load_config(path)
    path.write_bytes(b"\xff")
    with pytest.raises(LocalProtocolError, match=r"netserv\.toml: not UTF-8"):
        load_config(path)
    path.write_text("[caps]\nttl_s = 'long'")
    with pytest.raises(LocalProtocolError, match=r"netserv\.toml: caps\.ttl_s: expected `int`, got `str`"):
        load_config(path)


def test_all_that_signalling_can_be_told_can_be_told_here() -> None:
    config: NodeConfig = read_config("")
    fields = set(DaemonConfig.__struct_fields__) - {"state_dir", "node_id", "control", "publishers", "catching"}
    text = EXAMPLE.read_text().split("[signaling]")[1].split("[caps]")[0]
    for field in fields:
        assert f"{field} = " in text, field
    assert config.daemon.publishers is None
