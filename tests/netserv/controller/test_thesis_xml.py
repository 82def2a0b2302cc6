"""The thesis' configuration file, in likely spellings, becomes `netserv.toml`; hostile XML becomes nothing."""

import base64
import contextlib
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.controller.config import read_config
from netserv.controller.thesis_xml import toml_of_xml
from netserv.errors import LocalProtocolError
from netserv.modules.manifest import PortWish
from tests.netserv.controller.wishes import ALICE, BOB

KEYS = [base64.b64encode(key.public_key).decode() for key in (ALICE, BOB)]
ELEMENTS = f"""<?xml version="1.0" encoding="UTF-8"?>
<NetServ>
  <node-id>router7</node-id>
  <users>
    <!-- a comment -->
    <user>
      <name>alice</name>
      <public-key>
        {KEYS[0]}
      </public-key>
      <container><ip-address>10.200.0.2</ip-address></container>
      <ports><port proto="UDP">5060</port><port>8080</port></ports>
      <filters><filter>10.1.0.0/16</filter><filter>2001:db8::/48</filter></filters>
      <sandbox-directory>/var/netserv/alice</sandbox-directory>
    </user>
    <user name="bob" publicKey="{KEYS[1]}" address="10.200.0.3" port="tcp/25" prefix="10.2.0.0/16" sandbox="/srv/bob"/>
  </users>
</NetServ>
"""


def test_users_become_publishers_with_all_that_the_thesis_lists() -> None:
    config = read_config(toml_of_xml(ELEMENTS.encode()))
    assert config.daemon.node_id == "router7"
    alice, bob = (config.policy.publishers[name] for name in ("alice", "bob"))
    assert (alice.keys, bob.keys) == ((ALICE.public_key,), (BOB.public_key,))
    assert alice.address == ip_address("10.200.0.2")
    assert alice.ports == (PortWish("udp", 5060), PortWish("tcp", 8080))
    assert alice.account.prefixes == (ip_network("10.1.0.0/16"), ip_network("2001:db8::/48"))
    assert alice.sandbox_dir == Path("/var/netserv/alice")
    assert (bob.address, bob.ports, bob.sandbox_dir) == (
        ip_address("10.200.0.3"),
        (PortWish("tcp", 25),),
        Path("/srv/bob"),
    )


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<netserv><user><name>&b;</name></user></netserv>"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "line 1: document types, entities and instructions are not read"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "line 1: document types"),
        ("<?php x ?><netserv/>", "line 1: document types"),
        ("<netserv>&undefined;</netserv>", "line 1: not XML: undefined entity"),
        ("<netserv>", "line 1: not XML: no element found"),
        ("", "line 1: not XML: no element found"),
        ("<netserv/>", "the file has no user"),
        ("<netserv>\n<planet/></netserv>", "line 2: element 'planet' is not known"),
        ("<netserv color='red'/>", "line 1: attribute 'color' of netserv is not known"),
        ("<netserv><user name='a'/></netserv>", "line 1: a user has one name and a public key"),
        ("<user name='a' key='x' quota='7'/>", "line 1: 'quota' of a user is not known"),
        ("<user name='a' key='x'><moon/></user>", "line 1: element 'moon' of a user is not known"),
        ("<user name='a' key='x' ip='1'><address>2</address></user>", "line 1: a user has one address"),
        ("<users><user name='a' key='x'/>\n<user name='a' key='y'/></users>", "line 2: user a comes twice"),
        ("<user name='a&#10;b' key='x'/>", "line 1: a control character in name"),
        ("<a>" * 9, "line 1: more than 100000 elements, or 8 levels"),
        ("<netserv>" + "<users/>" * 100_001 + "</netserv>", "line 1: more than 100000 elements"),
        (" " * ((4 << 20) + 1), "more than 4194304 bytes"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        toml_of_xml(text.encode())
    assert str(caught.value).startswith(said)


@given(st.one_of(st.binary(max_size=200), st.text("<>/users'=\"& ab!?", max_size=100).map(str.encode)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(LocalProtocolError):
        toml_of_xml(data)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40))
def test_any_directory_is_written_as_it_is(path: str) -> None:
    stripped = path.strip()
    escaped = path.replace("&", "&amp;").replace("<", "&lt;")
    xml = f"<user><name>alice</name><key>{KEYS[0]}</key><dir>{escaped}</dir></user>"
    if not stripped or not stripped.isprintable():
        return
    assert read_config(toml_of_xml(xml.encode())).policy.publishers["alice"].sandbox_dir == Path(stripped)
