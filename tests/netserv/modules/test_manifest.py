from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.modules.errors import BundleError
from netserv.modules.manifest import (
    MANIFEST_BYTES_MAX,
    Manifest,
    PortWish,
    Prematch,
    read_manifest,
    write_manifest,
)
from tests.netserv.modules.bundles import MANIFEST

LEAST = 'name = "A"\nversion = "1"\nentry = "a:B"\nkind = "both"\n'


def test_a_manifest_says_what_its_file_says() -> None:
    manifest = read_manifest(MANIFEST)
    assert manifest == Manifest(
        name="NetServ.apps.Echo",
        version="1.2.0",
        entry="echo.main:Echo",
        kind="both",
        requires=("http-server>=1.0",),
        exports=("NetServ.echo",),
        ports=(PortWish("tcp", 8080),),
        prematch=(Prematch(0, b"NOTIFY "),),
    )
    assert manifest.failure == "open"
    assert manifest.reference == "NetServ.apps.Echo_1.2.0"
    assert (manifest.entry_module, manifest.entry_class) == ("echo.main", "Echo")
    assert [str(needed) for needed in manifest.dependencies] == ["http-server>=1.0"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("name =", "Invalid value"),
        ("nam = 1", "unknown field `nam`"),
        ('name = "A"', "Cannot overwrite"),
        ("failure = 3", "Expected `str`|Invalid enum value|`failure`"),
        ('failure = "maybe"', "maybe"),
        ('ports = [{ proto = "sctp", port = 1 }]', "sctp"),
        ('ports = [{ proto = "tcp", port = 0 }]', "port tcp 0: tcp or udp, and 1 to 65535"),
        ('ports = [{ proto = "tcp", port = 65536 }]', "65536"),
        ('ports = [{ proto = "tcp", port = 9 }, { proto = "tcp", port = 9 }]', "ports names one thing twice"),
        ('requires = ["a b"]', "'a b' is no name of a module or block"),
        ('requires = ["a>=x"]', "'x' is no version"),
        ('requires = ["a", "a>=2"]', "requires names one thing twice"),
        ('requires = ["A"]', "requires names the module itself"),
        (f"requires = {[f'a{number}' for number in range(33)]}", "requires has more than 32 entries"),
        ('exports = ["../x"]', "is no name of a service"),
        ('description = "\\u001b[2J"', "printable text"),
        (f'description = "{"x" * 1025}"', "at most 1024 characters"),
        ("[[prematch]]", "give either text or hex"),
        ('[[prematch]]\ntext = "a"\nhex = "00"', "give either text or hex"),
        ('[[prematch]]\nhex = "0"', "pairs of hex digits"),
        ('[[prematch]]\ntext = ""', "1 to 16 bytes can be compared, not 0"),
        ('[[prematch]]\ntext = "01234567890123456"', "not 17"),
        ('[[prematch]]\ntext = "a"\noffset = -1', "offset -1 is not within 0..255"),
        ('[[prematch]]\ntext = "a"\noffset = 256', "offset 256"),
        ('[[prematch]]\ntext = "a"\n' * 2, "prematch names one thing twice"),
        (f"x = {'[' * 5000}", r"module\.toml: "),
        (f"x = {'9' * 5000}", r"module\.toml: "),
        (f"# {'x' * MANIFEST_BYTES_MAX}", "more than 16384 bytes"),
    ],
)
def test_a_strange_manifest_is_refused(line: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        read_manifest(f"{LEAST}{line}\n".encode())


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ('"A"', '"a/b"', "is no name of a module"),
        ('"A"', f'"{"a" * 129}"', "is no name of a module"),
        ('"1"', '"1.x"', "is no version"),
        ('"a:B"', '"a.B"', "is not package.module:Class"),
        ('"a:B"', '"../a:B"', "is not package.module:Class"),
        ('"a:B"', '"a.:B"', "is not package.module:Class"),
        ('"a:B"', f'"{"a" * 300}:B"', "is not package.module:Class"),
        ('"both"', '"all"', "all"),
        ('"both"', '"packet"\nports = [{ proto = "tcp", port = 1 }]', "listens on no port"),
        ('"both"', '"server"\n[[prematch]]\ntext = "a"', "gets no packets"),
        ('kind = "both"', "", "missing required field `kind`"),
    ],
)
def test_a_manifest_of_strange_values_is_refused(good: str, bad: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        read_manifest(LEAST.replace(good, bad).encode())


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(BundleError, match="utf-8"):
        read_manifest(b"\xff")


TEXTS = st.text(st.characters(blacklist_categories=("C", "Z"), min_codepoint=0x20), max_size=30)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}(\.[A-Za-z0-9-]{1,8}){0,2}", fullmatch=True)


@given(
    st.builds(
        Manifest,
        name=NAMES,
        version=st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True),
        entry=st.from_regex(r"[a-z_]{1,9}(\.[a-z_]{1,9}){0,2}:[A-Z][a-z]{0,9}", fullmatch=True),
        kind=st.just("both"),
        description=st.one_of(TEXTS, st.just('say "no" \\ \n twice')),
        exports=st.lists(NAMES, unique=True, max_size=4).map(tuple),
        ports=st.lists(
            st.builds(PortWish, st.sampled_from(["tcp", "udp"]), st.integers(1, 65_535)), unique=True, max_size=4
        ).map(tuple),
        failure=st.sampled_from(["open", "closed", "reload"]),
        prematch=st.lists(
            st.builds(Prematch, st.integers(0, 255), st.binary(min_size=1, max_size=16)), unique=True, max_size=4
        ).map(tuple),
    )
)
def test_what_is_written_is_read_again(manifest: Manifest) -> None:
    assert read_manifest(write_manifest(manifest)) == manifest


@given(
    st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: (LEAST + text).encode(errors="replace")))
)
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    with suppress(BundleError):
        read_manifest(data)
