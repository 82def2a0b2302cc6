"""The state of running z2z as Prometheus reads it: text exposition format 0.0.4."""

from collections import Counter
from collections.abc import Sequence

from z2z.control import Answer


def exposition(answers: Sequence[Answer]) -> str:
    """The lines, each metric with its help and type, and a sample of it for each program."""
    labels = [_labels(answer) for answer in answers]
    lines = _head("uptime_seconds", "gauge", "Since the program was started.")
    for label, answer in zip(labels, answers, strict=True):
        lines.append(f"z2z_uptime_seconds{{{label}}} {answer.program.uptime_s:g}")
    lines += _head("services", "gauge", "Services by what becomes of them.")
    for label, answer in zip(labels, answers, strict=True):
        found = Counter((each.role, each.state) for each in answer.services)
        for (role, state), count in sorted(found.items()):
            lines.append(f'z2z_services{{{label},role="{role}",state="{_escaped(state)}"}} {count}')
    lines += _head("link_total", "counter", "Of the link, since it was opened.")
    for label, answer in zip(labels, answers, strict=True):
        for name, count in sorted(answer.program.link.items()):
            lines.append(f'z2z_link_total{{{label},what="{_escaped(name)}"}} {count}')
    return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP z2z_{name} {text}", f"# TYPE z2z_{name} {kind}"]


def _labels(answer: Answer) -> str:
    program = answer.program
    work = "; ".join([*program.exports, *program.imports])
    return (
        f'site="{_escaped(program.site)}",interface="{_escaped(program.interface)}",work="{_escaped(work)}",'
        f'keys="{_escaped(",".join(program.keys))}"'
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
