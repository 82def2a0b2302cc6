"""Requests as people write them in a file: without signature, and perhaps without the lines that sending adds."""

import base64
import re
from typing import Final

import msgspec

from netserv.signaling.nslp.requests import Request, Trigger, decode
from netserv.signaling.nslp.signing import SIGNATURE_BYTES

_PLACE: Final = "signature:" + base64.b64encode(bytes(SIGNATURE_BYTES)).decode()
"Stands for a signature to come, since a request that names its user has one."
_SIGNATURE: Final = re.compile(rb"^signature:", re.MULTILINE)


def read_request(text: bytes, user: str | None = None) -> Request:
    """The request of a file. What has a signature is read as it stands, as every byte of it counts.

    Args:
        text: with or without an empty line at its end.
        user: who is going to sign; put in where the file names nobody.

    Raises:
        NslpError: it is no request.
    """
    return decode(text) if _SIGNATURE.search(text) else _unsigned(decode(_with_place(text, user)))


def _with_place(text: bytes, user: str | None) -> bytes:
    head, _, body = text.replace(b"\r\n", b"\n").strip(b"\n\0").partition(b"\n\n")
    lines = head.decode(errors="surrogateescape").split("\n")
    names = {line.partition(":")[0] for line in lines[1:]}
    inner = _with_place(body, user) if body else b""
    if body:
        lines = [line for line in lines if not line.startswith("body-length:")]
        lines.append(f"body-length:{len(inner)}")
    if user is not None and "user" not in names:
        lines.append(f"user:{user}")
    if user is not None or "user" in names:
        lines.append(_PLACE)
    return "\n".join([*lines, "", ""]).encode(errors="surrogateescape") + inner


def _unsigned(request: Request) -> Request:
    if isinstance(request, Trigger):
        inner = _unsigned(request.inner)
        return msgspec.structs.replace(request, inner=inner, body_length=0, signature=None, text=b"")
    return msgspec.structs.replace(request, signature=None, text=b"")
