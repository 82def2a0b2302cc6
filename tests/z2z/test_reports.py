import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.exports import item
from z2z.reports import Report, ServiceStatus, endpoints, headline, line, printable, shown


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (
            Report(
                event="exported",
                service="Tom's Music",
                service_type="_daap._tcp",
                where=("160.39.243.99:3689",),
                keys=("office",),
            ),
            "exported Tom's Music (_daap._tcp) 160.39.243.99:3689 as office",
        ),
        (
            Report(
                event="imported", service="P", service_type="_ipp._tcp", site="lab", shown_as="P (lab)", reason="taken"
            ),
            "imported P (_ipp._tcp) shown as 'P (lab)' from lab: taken",
        ),
        (
            Report(event="exported", service="P", service_type="_ipp._tcp", where=("a", "b", "c"), dry_run=True),
            "dry run: exported P (_ipp._tcp) a (+2 more)",
        ),
    ],
)
def test_a_report_is_one_line(report, text):
    assert line(report) == text


def test_endpoints_name_every_address():
    assert endpoints(item(b"x", "198.51.100.7", "2001:db8::7")) == ("198.51.100.7:3689", "[2001:db8::7]:3689")


def test_bytes_that_are_no_text_stay_visible():
    assert shown(b"a\xff") == "a\\xff"


@given(st.text(max_size=30))
def test_nothing_that_a_peer_sends_steers_the_terminal(text):
    report = Report(event="imported", service=text, service_type="_x._tcp", site=text, reason=text)
    assert line(report).isprintable()
    assert printable(printable(text)) == printable(text)


def test_a_service_manager_is_told_what_becomes_of_how_many():
    def service(role, state):
        return ServiceStatus(role=role, state=state, service="Music", service_type="_daap._tcp")

    services = [service("import", "imported"), service("export", "skipped"), *[service("export", "exported")] * 2]
    assert headline(services) == "export: 2 exported, 1 skipped; import: 1 imported"
    assert headline([]) == "no service yet"
