"""`smp flow simulate`: what a flow would have done in a stretch of the past."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smp_pipelines.commands.shared import deployment, local_moment, out, print_table

if TYPE_CHECKING:
    from smp_pipelines.flow.simulating import Mails, Simulation

_BAR = 40
_MOST_BARS = 45


def flow_simulate(
    flow: Annotated[str, typer.Argument(help="The flow: its campaign's name.")],
    start: Annotated[str, typer.Option("--from", help="Local date, e.g. 2025-11-01.")],
    end: Annotated[str, typer.Option("--to", help="Local date, the last day; or a moment.")],
    draft: Annotated[
        bool, typer.Option("--draft", help="As the file has it now, not the version that people enter.")
    ] = False,
    file: Annotated[Path | None, typer.Option(help="Write the mails per step and day to this CSV file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the mails per day into this PNG file.")] = None,
) -> None:
    """Replay a flow over the CRM's history: mails per step and day, waits, the cap, goals. Sends and writes nothing."""
    from smp_pipelines.audience.simulating import simulate_flow

    with deployment() as loaded:
        begins, ends = local_moment(start, loaded), local_moment(end, loaded)
        if len(end.strip()) == 10:
            ends = (ends.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=ends.tzinfo)
        seen = simulate_flow(loaded, flow, begins, ends, from_file=draft)
    _print(seen)
    if file is not None:
        _write(seen, file)
        out.print(f"\nthe mails per step and day are in {file}", markup=False)
    if plot is not None:
        _draw(seen, plot)
        out.print(f"\nthe plot is in {plot}", markup=False)


def _print(seen: Simulation) -> None:
    which = f"version {seen.version.number}" if seen.version.number else "the file, which was never live"
    hours = int(seen.every / timedelta(hours=1))
    out.print(f"{seen.version.flow}, {which}: nothing was sent, nothing was written", markup=False, style="bold")
    out.print(
        f"{_local(seen, seen.start)} to {_local(seen, seen.end)}; the clock stopped {seen.stops:,} times,"
        f" for events of {'an hour' if hours == 1 else f'{hours} hours'} together and whenever somebody was due",
        markup=False,
    )
    out.print("\nwho entered", style="bold")
    print_table(["events", "of", "became"], [[f"{n:,}", by, why or "enrolled"] for by, why, n in seen.entries])
    out.print("\nsteps", style="bold")
    print_table(["step", "what", "came", "there", "stay, middle", "longest", "and then"], _steps(seen))
    out.print("\nhow it ended", style="bold")
    ended = [
        [f"{people:,}", outcome or "still in the flow", reason, f"{met:,}" if met else None]
        for outcome, reason, people, met in seen.outcomes
    ]
    print_table(["people", "outcome", "why", "goal met"], ended)
    if seen.version.model.goals and seen.enrolled:
        rate = f"{seen.succeeded / seen.enrolled:.1%}"
        out.print(f"goal met by {seen.met:,} of {seen.enrolled:,}; success rate {rate}", markup=False)
    _print_mails(seen)


def _steps(seen: Simulation) -> list[list[object]]:
    return [
        [
            *(step.node.name, step.node.kind, f"{step.came:,}", f"{step.waiting:,}" if step.waiting else None),
            *(_length(step.middle), _length(step.longest)),
            ", ".join(f"{way} {people:,}" for way, people in step.ways.items() if way not in ("next", "none")),
        ]
        for step in seen.steps
    ]


def _print_mails(seen: Simulation) -> None:
    out.print("\nmails", style="bold")
    names = _names(seen)
    totals = [
        [name, f"{sum(mail.sent for mail in mails):,}", f"{sum(mail.capped for mail in mails):,}", *_busiest(mails)]
        for node, name in names.items()
        if (mails := [mail for mail in seen.mails if mail.node == node])
    ]
    print_table(["step", "sent", "stopped by the cap", "busiest day", "mails"], totals)
    for reason, people in seen.skipped.most_common():
        out.print(f"{people:,} not sent: {reason}", markup=False)
    if not totals:
        return
    out.print()
    word, first_of = _period(seen)
    per_step: dict[date, Counter[int]] = {}
    for mail in seen.mails:
        per_step.setdefault(first_of(mail.day), Counter())[mail.node] += mail.sent
    most = max([*(counts.total() for counts in per_step.values()), 1])
    rows: list[list[object]] = []
    for day, counts in sorted(per_step.items()):
        shown = [f"{counts[node]:,}" if counts[node] else None for node in names]
        rows.append([day, *shown, f"{counts.total():,}", "█" * -(-counts.total() * _BAR // most)])
    print_table([word, *names.values(), "all", ""], rows)


def _names(seen: Simulation) -> dict[int, str]:
    """The mails of the flow, by node."""
    return {node.number: node.name for node in seen.version.nodes if node.kind == "mail"}


def _busiest(mails: list[Mails]) -> tuple[str, str]:
    most = max(mails, key=lambda mail: mail.sent)
    return f"{most.day}", f"{most.sent:,}"


def _period(seen: Simulation) -> tuple[str, Callable[[date], date]]:
    """What a line of the picture stands for, by its first day: days, weeks or months, as they fit on a screen."""
    if len({mail.day for mail in seen.mails}) <= _MOST_BARS:
        return "day", lambda day: day
    if (seen.end - seen.start).days <= 7 * 2 * _MOST_BARS:
        return "week of", lambda day: day - timedelta(days=day.weekday())
    return "month of", lambda day: day.replace(day=1)


def _write(seen: Simulation, file: Path) -> None:
    names = _names(seen)
    with file.open("w", encoding="utf-8", newline="") as target:
        written = csv.writer(target)
        written.writerow(["day", "step", "mail", "sent", "frequency_cap"])
        for mail in seen.mails:
            step = seen.version.nodes[mail.node].options["step"]
            written.writerow([mail.day, names[mail.node], step, mail.sent, mail.capped])


def _draw(seen: Simulation, file: Path) -> None:
    from matplotlib.dates import date2num
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots()
    first = seen.start.astimezone(seen.version.zone).date()
    days = [first + timedelta(days=number) for number in range((seen.end - seen.start).days + 1)]
    places = [date2num(day) for day in days]  # type: ignore[no-untyped-call]
    below = dict.fromkeys(days, 0)
    for node, name in _names(seen).items():
        sent = {mail.day: mail.sent for mail in seen.mails if mail.node == node}
        axes.bar(places, [sent.get(day, 0) for day in days], bottom=list(below.values()), width=0.9, label=name)
        below = {day: low + sent.get(day, 0) for day, low in below.items()}
    capped: Counter[date] = Counter()
    for mail in seen.mails:
        capped[mail.day] += mail.capped
    if any(capped.values()):
        stopped = [capped[day] for day in days]
        axes.bar(places, stopped, bottom=list(below.values()), width=0.9, label="frequency cap", color="#c9c4bb")
    axes.xaxis_date()
    axes.set_title(f"{seen.version.flow}: mails per day, simulated", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(file, format="png", dpi=120)


def _local(seen: Simulation, moment: datetime) -> str:
    return f"{moment.astimezone(seen.version.zone):%Y-%m-%d %H:%M}"


def _length(length: timedelta) -> str:
    """A length of time in words that people use: days, hours or minutes."""
    for unit, seconds in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if length.total_seconds() >= 2 * seconds:
            return f"{length.total_seconds() / seconds:,.0f} {unit}"
    return "none" if length.total_seconds() < 60 else f"{length.total_seconds() / 60:,.0f} minutes"
