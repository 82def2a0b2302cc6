"""The state of running z2z as Prometheus reads it: text exposition format 0.0.4."""

from collections import Counter
from collections.abc import Sequence

from mdht.prometheus import escaped, head
from z2z.control import Answer


def exposition(answers: Sequence[Answer]) -> str:
    """The lines, each metric with its help and type, and a sample of it for each program."""
    labels = [_labels(answer) for answer in answers]
    lines = [*head("z2z_uptime_seconds", "gauge", "Since the program was started.")]
    for label, answer in zip(labels, answers, strict=True):
        lines.append(f"z2z_uptime_seconds{{{label}}} {answer.program.uptime_s:g}")
    lines += head("z2z_services", "gauge", "Services by what becomes of them.")
    for label, answer in zip(labels, answers, strict=True):
        found = Counter((each.role, each.state) for each in answer.services)
        for (role, state), count in sorted(found.items()):
            lines.append(f'z2z_services{{{label},role="{role}",state="{escaped(state)}"}} {count}')
    lines += head("z2z_link_total", "counter", "Of the link, since it was opened.")
    for label, answer in zip(labels, answers, strict=True):
        for name, count in sorted(answer.program.link.items()):
            lines.append(f'z2z_link_total{{{label},what="{escaped(name)}"}} {count}')
    lines += head("z2z_import_refused_total", "counter", "Values of the stores that were not imported, by why.")
    for label, answer in zip(labels, answers, strict=True):
        for name, count in sorted(answer.program.refused.items()):
            lines.append(f'z2z_import_refused_total{{{label},why="{escaped(name)}"}} {count}')
    return "\n".join(lines) + "\n"


def _labels(answer: Answer) -> str:
    program = answer.program
    work = "; ".join([*program.exports, *program.imports])
    return (
        f'site="{escaped(program.site)}",interface="{escaped(program.interface)}",work="{escaped(work)}",'
        f'keys="{escaped(",".join(program.keys))}"'
    )
