from pathlib import Path

import pytest

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.text_files import TEXT_MAX, read_text


@pytest.mark.parametrize(
    ("data", "why"), [(b"\xff", "not UTF-8"), (bytes(TEXT_MAX + 1), "more than"), (None, "No such file")]
)
def test_a_file_that_is_no_text_is_one_line_that_names_it(data: bytes | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(LocalProtocolError, match=rf"^policy {path}: .*{why}"):
        read_text(path, "policy")
