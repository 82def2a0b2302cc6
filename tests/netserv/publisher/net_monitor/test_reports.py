from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import RemoteProtocolError
from netserv.publisher.net_monitor.reports import FLOWS_MAX, Reports, read_hello

FLOW = b'["10.4.0.2","10.1.0.2",61,5]'
LINE = b'{"flows":[%s],"others":0,"done":%s}'


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        LINE % (b'["10.4.0.2","10.1.0.2",61]', b"true"),
        LINE % (b'["10.4.0.2","10.1.0.2",256,1]', b"true"),
        LINE % (b'["10.4.0.2","10.1.0.2",1,-1]', b"true"),
        LINE % (b'["10.4.0.2","10.1.0.2",1,1e30]', b"true"),
        LINE % (b'["10.4.0.2","nowhere",1,1]', b"true"),
        LINE % (b'["<b>","10.1.0.2",1,1]', b"true"),
        LINE % (b",".join([FLOW] * 1_025), b"true"),
        b'{"flows":[],"others":0,"done":true,"more":1}',
        b'{"flows":[],"others":0}',
        b"[" * 100_000,
        b" " * 70_000,
    ],
)
def test_what_is_no_line_is_refused(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        Reports().take(line)


def test_a_report_without_end_is_refused() -> None:
    reports, line = Reports(), LINE % (b",".join([FLOW] * 1_000), b"false")
    for _ in range(FLOWS_MAX // 1_000):
        assert reports.take(line) is None
    with pytest.raises(RemoteProtocolError, match="more than"):
        reports.take(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (Reports().take, read_hello):
        with suppress(RemoteProtocolError):
            read(data)
