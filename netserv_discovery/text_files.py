"""Files that a person has written."""

from pathlib import Path

from netserv_discovery.errors import LocalProtocolError

TEXT_MAX = 1 << 20
"Bytes of a file that a person has written: a policy with thousands of names."


def read_text(path: Path, what: str) -> str:
    """Return the text of a file that a person has written.

    Args:
        path: the file.
        what: it is, for errors.

    Raises:
        LocalProtocolError: it cannot be read, is too long, or no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_MAX + 1)
        if len(data) > TEXT_MAX:
            raise LocalProtocolError(f"{what} {path}: more than {TEXT_MAX} bytes")
        return data.decode()
    except OSError as error:
        raise LocalProtocolError(f"{what} {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise LocalProtocolError(f"{what} {path}: not UTF-8") from error
