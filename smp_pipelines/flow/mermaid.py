"""Mermaid: the diagram of a version as text, with the figures at its steps and ways (F47).

What colleagues wrote stands between quotation marks with every sign that means something to Mermaid or HTML as its
number, so that no name of a step can change the diagram or bring markup into the page that shows it.
"""

from __future__ import annotations

from smp_pipelines.campaign.flow.graph import END
from smp_pipelines.flow.seeing import StepCounts, VersionCounts
from smp_pipelines.flow.wording import kind_words, way_words, ways_of

_PLAIN = " .,:%/-+·"
_SHAPES = {"if": ("{", "}"), "split": ("{", "}"), "end": ("([", "])"), "move_to": ("([", "])")}
_CLASSES = {
    "mail": "action", "update": "action", "create": "action", "add_to_list": "action", "remove_from_list": "action",
}  # fmt: skip


def mermaid(counts: VersionCounts) -> str:
    """A flowchart from top to bottom."""
    lines = ["flowchart TD"]
    for step in counts.steps:
        node = step.node
        opens, closes = _SHAPES.get(node.kind, ("[", "]"))
        style = f":::{_CLASSES[node.kind]}" if node.kind in _CLASSES else ""
        lines.append(f'  n{node.number}{opens}"{_label(step)}"{closes}{style}')
    lines += [line for step in counts.steps for line in _arrows(step)]
    if any(END in step.node.ways.values() for step in counts.steps):
        lines.append('  out(["leaves the flow"])')
    lines.append("  classDef action fill:#e4f1ec,stroke:#22705f,color:#1d2522")
    return "\n".join(lines)


def _label(step: StepCounts) -> str:
    title, kind = step.node.title, kind_words(step.node)
    words = [safe(title), safe(kind), f"{step.came:,} came · {step.waiting:,} waiting"]
    if step.drop_outs:
        words.append(f"{step.drop_outs:,} dropped out")
    if step.goal:
        words.append(f"{step.goal:,} goal met")
    return "<br>".join(words)


def _arrows(step: StepCounts) -> list[str]:
    arrows = []
    for way, target in ways_of(step.node):
        words = f"{way_words(way, step.node)} {step.ways.get(way, 0):,}".strip()
        to = "out" if target == END else f"n{target}"
        arrows.append(f'  n{step.node.number} -->|"{safe(words)}"| {to}')
    return arrows


def safe(text: str) -> str:
    """A text as Mermaid may have it between quotation marks: letters, digits and a few signs; the rest as numbers."""
    return "".join(sign if sign.isalnum() or sign in _PLAIN else f"#{ord(sign)};" for sign in " ".join(text.split()))
