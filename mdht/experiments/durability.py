"""Experiment 7: how many records a subnet loses while its hosts crash and leave (thesis 3.3.5)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from mdht.experiments.base import Experiment, Finding, Lists, Row, chosen, numbers, values
from mdht.experiments.interval import estimate, percent
from mdht.experiments.subnet_run import Churn, simulate
from mdht.subnet.durability import loss_share

FULL: Final = "full"
POLICIES: Final = ("fixed:1", "fixed:2", "fixed:3", "fixed:4", "fixed:5", FULL)
CRASH_SHARES: Final = (0.0, 0.5, 1.0)
MEDIANS_MIN: Final = (1.4, 5.0, 10.0, 30.0, 60.0)
RECORDS: Final[Mapping[float, int]] = {1.4: 8, 5.0: 25, 10.0: 50, 30.0: 80, 60.0: 150}
"By median lifetime: the more hosts come and go, the longer a record takes to simulate, and the more are lost."
RECORDS_THREE: Final[Mapping[float, int]] = {1.4: 20, 5.0: 150, 10.0: 700, 30.0: 200, 60.0: 400}
"Of three copies and crashes only, of which the design gives numbers, and small ones."
SHORT_MEDIANS_MIN: Final = (1.4, 10.0, 60.0)
SHORT_RECORDS: Final[Mapping[float, int]] = {1.4: 4, 10.0: 8, 60.0: 16}
NONE_LOST_MIN: Final = 60.0
"At this median three copies should lose nothing, where at shorter ones the model is right within a factor of two."
FACTOR: Final = 2.0
ENOUGH: Final = 0.001
"Share of the records lost in four hours that we call little enough."


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run: records put into a subnet, four hours of churn."""

    policy: str
    crash_share: float
    median_min: float
    records: int

    @property
    def churn(self) -> Churn:
        """How hosts come and go."""
        return Churn(median_s=60.0 * self.median_min, crash_share=self.crash_share)

    @property
    def copies(self) -> int:
        """Of each record."""
        return self.churn.hosts if self.policy == FULL else int(self.policy.removeprefix("fixed:"))


def model_share(settings: Settings) -> float:
    """What the model of the design expects to be lost.

    With a share of crashes c a host crashes, rather than leaves, after a time of tau / c on average, and a leave costs
    no copy: so it is the model with that longer lifetime. It is made for fewer copies than hosts; for `full`, where no
    death makes any host copy anything, it is an upper bound, as newcomers copy without waiting for detection.
    """
    churn = settings.churn
    if churn.crash_share == 0.0:
        return 0.0
    delay_s = churn.detection_s + churn.transfer_s
    return loss_share(settings.copies, delay_s, churn.median_s / churn.crash_share, churn.duration_s)


def _settings(short: bool, _lists: Lists) -> list[Settings]:
    return [
        Settings(policy=policy, crash_share=share, median_min=median, records=_records(policy, share, median, short))
        for policy in POLICIES
        for share in CRASH_SHARES
        for median in (SHORT_MEDIANS_MIN if short else MEDIANS_MIN)
    ]


def _records(policy: str, crash_share: float, median_min: float, short: bool) -> int:
    if short:
        return SHORT_RECORDS[median_min]
    return (RECORDS_THREE if (policy, crash_share) == ("fixed:3", 1.0) else RECORDS)[median_min]


def _run(settings: Settings, seed: int) -> list[Row]:
    outcome = simulate(settings.policy, settings.churn, settings.records, seed)
    return [
        {
            "seed": seed,
            "policy": settings.policy,
            "crash_share": settings.crash_share,
            "median_min": settings.median_min,
            "records": outcome.records,
            "lost": outcome.lost,
            "lost_share": outcome.lost / outcome.records,
            "model_share": model_share(settings),
            "copied": outcome.copied,
            "lives": outcome.lives,
        }
    ]


def _figure(rows: Sequence[Row]) -> Any:
    from dhtboot.figures import plotting  # noqa: PLC0415 - matplotlib takes a second to import

    title = "Records lost in four hours, ten hosts, each replaced at once"
    drawing, plots = plotting.axes(title, "median lifetime (min)", "share lost", columns=2, width=9.0)
    for plot, share in zip(plots, (0.5, 1.0), strict=True):
        for policy, colour in zip(POLICIES, plotting.COLOURS, strict=True):
            of = chosen(rows, policy=policy, crash_share=share)
            medians = sorted(values(of, "median_min"))
            at = [chosen(of, median_min=median) for median in medians]
            lost = [estimate(numbers(each, "lost_share")) for each in at]
            if policy != FULL:
                model = [each[0]["model_share"] for each in at]
                plot.plot(medians, model, color=colour, linestyle="--", linewidth=0.8)
            seen = [(median, each) for median, each in zip(medians, lost, strict=True) if each.mean > 0.0]
            plot.errorbar(
                [median for median, _ in seen],
                [each.mean for _, each in seen],
                yerr=[min(each.half or 0.0, 0.999 * each.mean) for _, each in seen],
                color=colour,
                marker="o",
                linestyle="none",
                capsize=2,
                label=policy if seen else f"{policy}: none lost",
            )
        plot.plot([], [], color=plotting.GREY, linestyle="--", linewidth=0.8, label="model")
        plot.set_title(f"{share:.0%} of all lives end with a crash", fontsize=10)
        plot.set_xscale("log")
        plot.set_yscale("log")
        plot.set_ylim(1e-5, 50.0)
        plot.set_xticks(MEDIANS_MIN, [f"{median:g}" for median in MEDIANS_MIN])
        plot.minorticks_off()
        plot.legend(fontsize=8, ncols=3, loc="upper center")
    return drawing


def _findings(rows: Sequence[Row]) -> list[Finding]:
    found = [_all_graceful(rows), _enough(rows), *_three(rows)]
    for share in CRASH_SHARES[:0:-1]:
        found += [_compared(rows, policy, share) for policy in values(rows, "policy")]
    return [each for each in found if each is not None]


def _all_graceful(rows: Sequence[Row]) -> Finding | None:
    of = chosen(rows, crash_share=0.0)
    if not of:
        return None
    lost = sum(row["lost"] for row in of)
    return Finding("all leave gracefully, every policy", "0 lost", _of_all(of), lost == 0)


def _enough(rows: Sequence[Row]) -> Finding | None:
    of = chosen(rows, policy="fixed:3", crash_share=1.0)
    if not of:
        return None
    yes: list[str] = []
    no: list[str] = []
    for median in sorted(values(of, "median_min")):
        lost = estimate(numbers(chosen(of, median_min=median), "lost_share")).mean
        (yes if lost <= ENOUGH else no).append(f"{median:g}")
    measured = f"at {', '.join(yes) or 'no'} min" + (f", not at {', '.join(no)} min" if no else "")
    what = f"3 copies, crashes only: at most {percent(ENOUGH)} lost"
    return Finding(what, "at every median lifetime", measured, not no)


def _three(rows: Sequence[Row]) -> list[Finding]:
    found = []
    for median in sorted(values(rows, "median_min"), reverse=True):
        of = chosen(rows, policy="fixed:3", crash_share=1.0, median_min=median)
        if not of:
            continue
        lost, model = estimate(numbers(of, "lost_share")), of[0]["model_share"]
        if median >= NONE_LOST_MIN:
            wanted, holds = "0 lost", lost.mean == 0.0
        else:
            wanted, holds = f"{percent(model)} (model), within 2x", model / FACTOR <= lost.mean <= model * FACTOR
            if model * sum(row["records"] for row in of) < 1.0:
                holds = lost.mean == 0.0  # not even one is expected among so few
        measured = f"{lost.text(percent)} ({_of_all(of)})"
        found.append(Finding(f"3 copies, crashes only, median {median:g} min", wanted, measured, holds))
    return found


def _compared(rows: Sequence[Row], policy: str, share: float) -> Finding | None:
    """One line for all medians: they stand in one order in both columns."""
    of = chosen(rows, policy=policy, crash_share=share)
    if not of:
        return None
    medians = sorted(values(of, "median_min"))
    each = [chosen(of, median_min=median) for median in medians]
    what = f"{policy}, {share:.0%} crash, median {' / '.join(f'{median:g}' for median in medians)} min"
    model = " / ".join(percent(part[0]["model_share"]) for part in each)
    measured = " / ".join(estimate(numbers(part, "lost_share")).text(percent) for part in each)
    return Finding(what, f"model {model}", measured, None)


def _of_all(rows: Sequence[Row]) -> str:
    return f"{sum(row['lost'] for row in rows):,} of {sum(row['records'] for row in rows):,} lost"


DURABILITY: Final = Experiment(
    number=7,
    name="durability",
    claim="Where hosts hand over before they leave nothing is lost, and three copies outlast crashes.",
    takes="6 minutes",
    lists=False,
    columns=(
        *("seed", "policy", "crash_share", "median_min", "records", "lost", "lost_share", "model_share"),
        *("copied", "lives"),
    ),
    settings=_settings,
    run=_run,
    figure=_figure,
    findings=_findings,
)
