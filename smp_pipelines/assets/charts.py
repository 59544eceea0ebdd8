"""Charts: small pictures in asset metadata, for who would rather look than read."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#2d2a32"
_COLOURS = {
    "accepted": "#2a7f62",
    "skipped": "#d9a441",
    "rejected": "#b3402e",
    "unknown": "#7a6f9b",
    "waiting": "#8aa1b1",
}
_BAR = "#3f6c8f"


def bars(title: str, values: Mapping[str, float]) -> dg.MarkdownMetadataValue:
    """A picture of horizontal bars, the first value on top, each with its figure."""
    from matplotlib.figure import Figure

    names = list(values)
    figure = Figure(figsize=(7, 0.7 + 0.36 * max(len(names), 1)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(names, list(values.values()), color=[_COLOURS.get(name, _BAR) for name in names], height=0.7)
    axes.bar_label(drawn, labels=[f" {value:,.0f}" for value in values.values()], color=_INK, fontsize=9)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlim(0, max([*values.values(), 1]) * 1.15)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, labelsize=9, labelcolor=_INK)
    return _picture(figure, title)


def stacked_days(title: str, days: Sequence[str], series: Mapping[str, Sequence[float]]) -> dg.MarkdownMetadataValue:
    """A picture of one stacked column per day."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    base = [0.0] * len(days)
    for name, values in series.items():
        axes.bar(days, values, bottom=base, label=name, color=_COLOURS.get(name, _BAR))
        base = [below + value for below, value in zip(base, values, strict=True)]
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, labelcolor=_INK)
    axes.tick_params(axis="x", rotation=45 if len(days) > 7 else 0)
    axes.legend(fontsize=8, frameon=False)
    return _picture(figure, title)


def course(title: str, values: Sequence[tuple[datetime, float]], seconds: float) -> dg.MarkdownMetadataValue:
    """A picture of figures over time, in local time, each for the `seconds` from its moment on."""
    from matplotlib.figure import Figure

    begins_at = [moment for moment, _value in values]
    begins_at.append(begins_at[-1] + timedelta(seconds=seconds))
    edges = [moment.timestamp() for moment in begins_at]
    named = range(0, len(edges), (len(edges) + 6) // 7)
    words = "%H:%M:%S" if seconds < 60 else "%d-%m %H:%M" if seconds < 86400 else "%d-%m"
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.stairs([value for _moment, value in values], edges, fill=True, color=_COLOURS["accepted"])
    axes.set_xticks([edges[place] for place in named], [f"{begins_at[place]:{words}}" for place in named])
    axes.set_ylim(0, max([*(value for _moment, value in values), 1]) * 1.15)
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, labelcolor=_INK)
    return _picture(figure, title)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: object) -> str:
    return ("" if value is None else str(value)).replace("|", "\\|").replace("\n", " ")


def _picture(figure: Figure, alt: str) -> dg.MarkdownMetadataValue:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    # `savefig` lays everything out twice
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{encoded})")
