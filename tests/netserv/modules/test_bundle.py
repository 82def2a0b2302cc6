import base64
import hashlib
import io
import stat
import struct
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.modules import bundle as bundles
from netserv.modules.bundle import SIGNATURE_NAME, build_bundle, open_bundle, verify
from netserv.modules.errors import BundleError
from tests.netserv.modules.bundles import ALICE, BOB, FILES, MANIFEST, member, with_member, zipped

SIGNED = build_bundle(FILES, ALICE)


def test_a_signed_bundle_gives_its_files_and_its_signer() -> None:
    bundle = open_bundle(SIGNED)
    assert bundle.manifest.reference == "NetServ.apps.Echo_1.2.0"
    assert bundle.files == FILES
    assert verify(bundle, [BOB.public_key, ALICE.public_key]) == ALICE.public_key


def test_the_same_files_in_any_order_give_the_same_bytes() -> None:
    assert build_bundle(dict(reversed(FILES.items())), ALICE) == SIGNED
    # Of every machine and version: a publisher's servers announce one digest.
    assert hashlib.sha256(SIGNED).hexdigest() == "accfab547c98b9eaa1dc7b1fe596b3d89ee6f0f16c6dce8cadfaac583cb3c554"


def test_a_bundle_of_another_packer_is_opened() -> None:
    packed = zipped([("data/", b""), *FILES.items()], zipfile.ZIP_DEFLATED)
    assert open_bundle(packed).files == FILES


def test_a_missing_or_foreign_signature_is_refused() -> None:
    unsigned = open_bundle(build_bundle(FILES))
    assert unsigned.signer is None
    with pytest.raises(BundleError, match=r"Echo_1\.2\.0 is not signed"):
        verify(unsigned, [ALICE.public_key])
    with pytest.raises(BundleError, match="is no key of its user"):
        verify(open_bundle(SIGNED), [BOB.public_key])
    with pytest.raises(BundleError, match="is no key of its user"):
        verify(open_bundle(SIGNED), [])


def test_signing_again_replaces_the_signature() -> None:
    assert open_bundle(build_bundle(unpacked(SIGNED), BOB)).signer == BOB.public_key


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("name", [*FILES, SIGNATURE_NAME])
def test_a_changed_file_is_refused(name: str) -> None:
    files = unpacked(SIGNED)
    files[name] = files[name] + b"\n"
    with pytest.raises(BundleError, match=r"changed after it had been signed|is not `ed25519"):
        open_bundle(zipped(files.items()))


def test_an_added_or_removed_file_is_refused() -> None:
    files = unpacked(SIGNED)
    with pytest.raises(BundleError, match="changed after it had been signed"):
        open_bundle(zipped([*files.items(), ("more.py", b"")]))
    del files["data/table.bin"]
    with pytest.raises(BundleError, match="changed after it had been signed"):
        open_bundle(zipped(files.items()))


def test_a_signature_over_other_files_or_by_another_key_does_not_fit() -> None:
    other = unpacked(build_bundle({**FILES, "more.py": b""}, ALICE))[SIGNATURE_NAME]
    with pytest.raises(BundleError, match="changed after it had been signed"):
        open_bundle(zipped({**FILES, SIGNATURE_NAME: other}.items()))
    words = unpacked(SIGNED)[SIGNATURE_NAME].split(b" ")
    words[1] = base64.b64encode(BOB.public_key)
    with pytest.raises(BundleError, match="changed after it had been signed"):
        open_bundle(zipped({**FILES, SIGNATURE_NAME: b" ".join(words)}.items()))


@pytest.mark.parametrize("text", [b"", b"ed25519", b"ed25519 a b\n", b"ed25519 = =\n", b"x" * 1_000, b"\xff \xff \xff"])
def test_what_is_no_signature_is_refused(text: bytes) -> None:
    with pytest.raises(BundleError, match="is not `ed25519 KEY SIGNATURE`"):
        open_bundle(with_member(SIGNATURE_NAME, text))


@pytest.mark.parametrize(
    "name",
    [
        "../evil.py",
        "data/../../evil.py",
        "/etc/passwd",
        "data//x",
        "./x",
        "data/.",
        "..",
        "C:\\x",
        "a\\b",
        "a b",
        " a",
        "a.",
        ".hidden",
        "data/.hidden",
        "line\nend",
        "esc\x1b",
        "caf\u00e9",
        "\u212aelvin",
        "a" * 128 + "b",
        "/".join("a" * 17),
        "/".join(["a" * 100] * 3),
        "-rf",
        "~root",
    ],
)
def test_a_strange_name_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match=r"no plain name|a name has at most"):
        open_bundle(with_member(name))


def test_a_name_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(BundleError, match="no plain name"):
        open_bundle(with_member("nul_.py").replace(b"nul_.py", b"nul\0.py"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("module.toml", "comes twice"),
        ("MODULE.toml", "upper and lower case"),
        ("Data/other", "upper and lower case"),
        ("echo/main.py/x", "a file is in the place of a directory"),
        ("data", "a file is in the place of a directory"),
        ("DATA", "upper and lower case"),
    ],
)
def test_names_that_clash_are_refused(name: str, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        open_bundle(with_member(name))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR])
def test_what_is_no_plain_file_is_refused(kind: int) -> None:
    with pytest.raises(BundleError, match="is a link, a device or the like"):
        open_bundle(with_member(member("odd", kind | 0o777), b"/etc/passwd"))


@pytest.mark.parametrize(("attributes", "why"), [(0x08, "a link"), (0x40, "a device"), (0x10, "both a file and")])
def test_what_is_no_file_to_dos_is_refused(attributes: int, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        open_bundle(with_member(member("odd", 0, attributes=attributes)))


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = zipped([("zeros", bytes(1 << 20))], zipfile.ZIP_DEFLATED)
    many = zipped((f"f{number}", b"") for number in range(4_097))
    large = zipped([("a", b"abcdefgh" * 80), ("b", b"abcdefgh" * 80)], zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(BundleError, match="a ratio over 100"):
        open_bundle(zeros)
    with pytest.raises(BundleError, match="more than 4096 files"):
        open_bundle(many)
    monkeypatch.setattr(bundles, "BUNDLE_BYTES_MAX", 1_000)
    with pytest.raises(BundleError, match="more than 0 MiB when unpacked"):
        open_bundle(large)
    with pytest.raises(BundleError, match="more than 0 MiB"):
        open_bundle(bytes(1_001))


def test_a_size_that_is_a_lie_is_refused() -> None:
    data = bytearray(zipped([("a", b"abcdefgh" * 80)], zipfile.ZIP_DEFLATED))
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<L", 100)  # 640 are packed
    with pytest.raises(BundleError, match="no zip that can be read"):
        open_bundle(bytes(data))


def test_an_encrypted_file_is_refused() -> None:
    data = bytearray(build_bundle(FILES))
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(magic) + offset] |= 1
    with pytest.raises(BundleError, match=r"data/table\.bin: encrypted, or packed"):
        open_bundle(bytes(data))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: b"", "too short"),
        (lambda data: data[:-1], "no zip"),
        (lambda data: data + b"\0", "no zip, or one with something behind its end"),
        (lambda data: b"#!/bin/sh\n" + data, "is not where and as large as its end says"),
        (lambda data: data[:-22] + b"PK\x06\x07" + bytes(16) + data[-22:], "a zip64"),
        (lambda data: data[:-14] + b"\xff\xff" + data[-12:], "several parts"),
        (lambda data: data[:-14] + b"\xff\xff\xff\xff" + data[-10:], "more than 4096 files"),
    ],
)
def test_a_zip_whose_end_is_strange_is_refused(change, why) -> None:
    with pytest.raises(BundleError, match=why):
        open_bundle(change(build_bundle(FILES)))


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packers_are_refused(packing: int) -> None:
    with pytest.raises(BundleError, match="a method other than store and deflate"):
        open_bundle(zipped(FILES.items(), packing))


@pytest.mark.parametrize("missing", ["module.toml", "echo/main.py"])
def test_a_bundle_without_manifest_or_entry_is_refused(missing: str) -> None:
    files = {name: data for name, data in FILES.items() if name != missing}
    with pytest.raises(BundleError, match=r"no module\.toml|the bundle has neither echo/main\.py nor"):
        build_bundle(files)


def test_a_bundle_that_no_node_would_take_is_not_built() -> None:
    with pytest.raises(BundleError, match="no plain name"):
        build_bundle({**FILES, "a b": b""})
    with pytest.raises(BundleError, match=r"module\.toml: "):
        build_bundle({**FILES, "module.toml": MANIFEST + b"x"})


@given(st.binary(max_size=300))
def test_any_bytes_are_a_bundle_or_refused(data: bytes) -> None:
    with suppress(BundleError):
        open_bundle(data)


PACKED = zipped(unpacked(SIGNED).items(), zipfile.ZIP_DEFLATED)


@given(
    st.sampled_from([SIGNED, PACKED]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    st.integers(0, 10_000),
    st.integers(0, 40),
    st.binary(max_size=40),
)
def test_a_mutated_bundle_is_what_it_was_or_refused(
    whole: bytes, changes: list[tuple[int, int]], place: int, removed: int, added: bytes
) -> None:
    data = bytearray(whole)
    for where, byte in changes:
        data[where % len(data)] = byte
    at = place % (len(data) + 1)
    data[at : at + removed] = added
    with suppress(BundleError):
        bundle = open_bundle(bytes(data))
        assert bundle.signer in {None, ALICE.public_key}
        if bundle.signer is not None:
            assert bundle.files == FILES
