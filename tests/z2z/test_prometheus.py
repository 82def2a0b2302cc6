import re
from itertools import groupby

from z2z.control import Answer, ProgramStatus
from z2z.prometheus import exposition
from z2z.reports import ServiceStatus

SAMPLE = re.compile(r'z2z_[a-z_]+\{([a-z]+="(\\.|[^"\\])*",?)+\} [0-9.]+')


def service(role: str, state: str) -> ServiceStatus:
    return ServiceStatus(role=role, state=state, service="Music", service_type="_daap._tcp")  # type: ignore[arg-type]


def answer(site: str, *services: ServiceStatus) -> Answer:
    program = ProgramStatus(
        pid=7,
        site=site,
        site_id="ab" * 8,
        interface="eth0",
        exports=("_daap._tcp to mdht",),
        imports=("from mdht",),
        keys=("office", 'the "lab"'),
        stores={},
        uptime_s=12.5,
        link={"packets_in": 7, "packets_out": 3},
        refused={"older": 2, "site": 4},
    )
    return Answer(program=program, services=services)


TWO = [answer("here", *[service("import", "imported")] * 2, service("import", "refused")), answer("there\n\\")]


def test_every_line_is_help_type_or_a_sample_and_those_of_a_metric_stand_together() -> None:
    lines = exposition(TWO).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples), samples
    announced = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert [name for name, _ in groupby(line.partition("{")[0] for line in samples)] == announced
    assert len(samples) == len(set(samples)) == 2 + 2 + 4 + 4


def test_services_are_counted_by_what_becomes_of_them() -> None:
    labels = 'site="here",interface="eth0",work="_daap._tcp to mdht; from mdht",keys="office,the \\"lab\\""'
    text = exposition(TWO)
    for line in (
        f'z2z_services{{{labels},role="import",state="imported"}} 2',
        f'z2z_services{{{labels},role="import",state="refused"}} 1',
        f"z2z_uptime_seconds{{{labels}}} 12.5",
        f'z2z_link_total{{{labels},what="packets_in"}} 7',
        f'z2z_import_refused_total{{{labels},why="site"}} 4',
    ):
        assert f"\n{line}\n" in text
