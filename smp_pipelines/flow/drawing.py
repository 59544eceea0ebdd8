"""Drawing: a version as a picture (SVG) with its figures, laid out as the file nests its steps (F35, F47).

No scripts and no styles: a page gives it colours by its classes, elsewhere it has those that are written in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape

from smp_pipelines.campaign.flow.graph import END, Node
from smp_pipelines.campaign.flow.models import FlowStep, IfStep, SplitStep
from smp_pipelines.flow.seeing import StepCounts, VersionCounts
from smp_pipelines.flow.wording import kind_words, way_words, ways_of

_WIDE, _HIGH = 208, 78
_COLUMN, _ROW = 232, 128
_LETTERS = 27
_BOLD_LETTERS = 23
_LANE = 18
_MARGIN = 12
_INK, _SOFT, _LINE = "#1d2522", "#5d6a65", "#93a29b"
_BOXES = {"rule": ("#ffffff", "#93a29b"), "action": ("#e4f1ec", "#22705f"), "leaves": ("#eceeec", "#5d6a65")}
_LOOKS = {
    "mail": "action", "update": "action", "create": "action", "add_to_list": "action", "remove_from_list": "action",
    "end": "leaves", "move_to": "leaves",
}  # fmt: skip


@dataclass
class _Layout:
    """Where each step is: its middle and its top; `lanes`: the middle of the column of each branch of a step."""

    numbers: Mapping[str, Node]
    middles: dict[int, float] = field(default_factory=dict)
    tops: dict[int, float] = field(default_factory=dict)
    lanes: dict[int, list[float]] = field(default_factory=dict)

    def place(self, steps: Mapping[str, FlowStep], left: float, top: float) -> float:
        """Put steps below each other, and branches side by side, the first one below its step; the top of what follows.

        The steps are in the order of their numbers: the database keeps those, and not the order of the file.
        """
        middle = left + _COLUMN / 2
        for number, step in sorted(
            ((self.numbers[name].number, step) for name, step in steps.items()), key=lambda each: each[0]
        ):
            self.middles[number], self.tops[number] = middle, top
            top += _ROW
            branches = _branches(step)
            if not branches:
                continue
            at, below = left, top
            self.lanes[number] = []
            for branch in branches:
                self.lanes[number].append(at + _COLUMN / 2)
                below = max(below, self.place(branch, at, top))
                at += _width(branch)
            top = below
        return top


def _branches(step: FlowStep) -> list[Mapping[str, FlowStep]]:
    if isinstance(step, IfStep):
        return [step.then, step.else_]
    return [share.steps for share in step.split] if isinstance(step, SplitStep) else []


def _width(steps: Mapping[str, FlowStep]) -> float:
    rows = (sum(_width(branch) for branch in _branches(step)) for step in steps.values())
    return max([_COLUMN, *rows])


def draw(counts: VersionCounts, href: Callable[[Node], str] | None = None) -> str:
    """The picture of a version; with `href` each step leads to an address. It holds figures, no people."""
    version = counts.version
    layout = _Layout({node.name: node for node in version.nodes})
    bottom = layout.place(version.model.steps, 0, _MARGIN)
    wide = _width(version.model.steps)
    jumps = sum(node.kind == "go_to" for node in version.nodes)
    ends = any(END in node.ways.values() for node in version.nodes)
    high = bottom + (34 if ends else 0) - (0 if ends else _ROW - _HIGH) + _MARGIN
    parts = [line for step in counts.steps for line in _lines(step, layout, bottom, wide, jumps)]
    if ends:
        parts.append(_end(_COLUMN / 2, bottom))
    parts += [_box(step, layout, href) for step in counts.steps]
    name = escape(f"Diagram of {version.model.name}, version {version.number}")
    size = f'viewBox="0 0 {wide + jumps * _LANE:g} {high:g}" width="{wide + jumps * _LANE:g}" height="{high:g}"'
    # with links in it, it is no picture to who cannot see: its parts are read
    said = "" if href else f' role="img" aria-label="{name}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="flow-diagram" {size}{said}'
        f' font-family="system-ui, sans-serif" font-size="13">{"".join(parts)}</svg>'
    )


def _lines(step: StepCounts, layout: _Layout, bottom: float, wide: float, jumps: int) -> list[str]:
    """The ways from a step to those that follow it, each with how many went it."""
    node, parts = step.node, []
    x, y = layout.middles[node.number], layout.tops[node.number] + _HIGH
    lanes = layout.lanes.get(node.number)
    for place, (way, target) in enumerate(ways_of(node)):
        to_x = _COLUMN / 2 if target == END else layout.middles[target]
        to_y = bottom if target == END else layout.tops[target]
        lane = lanes[place] if lanes else x
        if node.kind == "go_to":
            lane = wide + _LANE * (jumps - 0.5 - sum(each.kind == "go_to" for each in _before(node, layout)))
        first, last = y + (_ROW - _HIGH) * (0.25 if node.kind == "go_to" else 0.4), to_y - (_ROW - _HIGH) * 0.3
        dashed = ' stroke-dasharray="5 4"' if node.kind == "go_to" else ""
        parts.append(
            f'<path class="way" d="M{x:g} {y:g}V{first:g}H{lane:g}V{last:g}H{to_x:g}V{to_y - 6:g}" fill="none"'
            f' stroke="{_LINE}" stroke-width="1.5" stroke-linejoin="round"{dashed}/>'
            f'<path class="tip" d="M{to_x - 5:g} {to_y - 7:g}h10l-5 7z" fill="{_LINE}"/>'
        )
        words = " ".join(part for part in (way_words(way, node), f"{step.ways.get(way, 0):,}") if part)
        at = lane if lanes else x
        parts.append(
            f'<text class="soft" x="{at + 7:g}" y="{first + 13:g}" fill="{_SOFT}" font-size="12">{words}</text>'
        )
    return parts


def _before(node: Node, layout: _Layout) -> list[Node]:
    return [each for each in layout.numbers.values() if each.number < node.number]


def _end(x: float, y: float) -> str:
    fill, stroke = _BOXES["leaves"]
    return (
        f'<rect class="box leaves" x="{x - 62:g}" y="{y:g}" width="124" height="30" rx="15" fill="{fill}"'
        f' stroke="{stroke}"/><text class="soft" x="{x:g}" y="{y + 20:g}" text-anchor="middle" fill="{_SOFT}"'
        f' font-size="12">Leaves the flow</text>'
    )


def _box(step: StepCounts, layout: _Layout, href: Callable[[Node], str] | None) -> str:
    node = step.node
    look = _LOOKS.get(node.kind, "rule")
    fill, stroke = _BOXES[look]
    left, top = layout.middles[node.number] - _WIDE / 2, layout.tops[node.number]
    figures = [f"{step.waiting:,} waiting"] if step.waiting else []
    figures += [f"{step.drop_outs:,} dropped out"] if step.drop_outs else []
    figures += [f"{step.goal:,} goal met"] if step.goal else []
    drawn = (
        f'<rect class="box {look}" x="{left:g}" y="{top:g}" width="{_WIDE}" height="{_HIGH}"'
        f' rx="{_HIGH / 2 if look == "leaves" else 10:g}" fill="{fill}" stroke="{stroke}"/>'
        + _text(left + _WIDE / 2, top + 24, node.title, _INK, bold=True)
        + _text(left + _WIDE / 2, top + 43, kind_words(node), _SOFT)
        + _text(left + _WIDE / 2, top + 63, " · ".join(figures) or f"{step.came:,} came", _INK, marked=step.waiting > 0)
    )
    return f'<a href="{escape(href(node))}">{drawn}</a>' if href else drawn


def _text(x: float, y: float, words: str, fill: str, *, bold: bool = False, marked: bool = False) -> str:
    """A line of a box, cut to its width; the whole of it is said when one points at it."""
    most = _BOLD_LETTERS if bold else _LETTERS
    short = words if len(words) <= most else words[: most - 1].rstrip() + "…"
    whole = f"<title>{escape(words)}</title>" if short != words else ""
    looks = ' font-weight="600"' if bold or marked else ""
    name = "soft" if fill == _SOFT else "marked" if marked else "ink"
    return (
        f'<text class="{name}" x="{x:g}" y="{y:g}" text-anchor="middle" fill="{fill}"{looks}>'
        f"{escape(short)}{whole}</text>"
    )
