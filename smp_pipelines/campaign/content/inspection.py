"""Inspection: what is wrong in a template, found from its syntax tree before anybody is mailed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from jinja2 import TemplateSyntaxError, meta, nodes

from smp_pipelines.campaign.content.environment import MailEnvironment
from smp_pipelines.campaign.wording import did_you_mean


@dataclass(frozen=True)
class Names:
    """What a template may use: names with their attributes, and which of both can be empty.

    `empty` holds dotted names: `organisation`, `person.first_name`; `empty_when_unknown` those that are empty of a
    visitor whom nobody knows. `steps` are the steps that `links.to` may name, and whether each is a mail.
    """

    attributes: Mapping[str, frozenset[str]]
    empty: frozenset[str] = frozenset()
    empty_when_unknown: frozenset[str] = frozenset()
    steps: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong on a line of a template; a warning stops nothing."""

    line: int
    message: str
    remedy: str | None = field(default=None, compare=False)
    warning: bool = False


def inspect_template(source: str, names: Names, environment: MailEnvironment) -> list[Finding]:
    """Find syntax errors, unknown names, attributes and filters, unsafe parts, and values that may be empty."""
    try:
        tree = environment.parse(source)
    except TemplateSyntaxError as error:
        return [Finding(error.lineno, f"this template does not parse: {error.message}")]
    inspector = _Inspector(names, environment)
    inspector.walk(tree, frozenset())
    findings = inspector.findings
    if not inspector.unknown_parts:
        unknown = meta.find_undeclared_variables(tree) - set(names.attributes)
        for name in tree.find_all(nodes.Name):
            if name.ctx == "load" and name.name in unknown:
                remedy = did_you_mean(name.name, names.attributes)
                findings.append(Finding(name.lineno, f"there is no `{name.name}` here", remedy))
    return sorted(set(findings))


_FOREIGN = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


class _Inspector:
    """Walks the tree; `sure` holds the dotted names that an enclosing condition shows to be filled."""

    def __init__(self, names: Names, environment: MailEnvironment) -> None:
        self.names = names
        self.environment = environment
        self.findings: list[Finding] = []
        self.unknown_parts = False

    def walk(self, node: nodes.Node, sure: frozenset[str], asking: bool = False) -> None:
        """Inspect a node and all below it; `asking`: an empty value is no trouble here."""
        if isinstance(node, (nodes.If, nodes.CondExpr)):
            self._condition(node, sure, asking)
        elif isinstance(node, nodes.And):
            self.walk(node.left, sure, asking=True)
            self.walk(node.right, sure | _filled(node.left), asking)
        elif isinstance(node, nodes.Or):
            self.walk(node.left, sure, asking=True)
            self.walk(node.right, sure, asking)
        else:
            # default() replaces what is missing, not what is empty, so it does not count as asking.
            asking = asking or isinstance(node, (nodes.Test, nodes.Not, nodes.Compare))
            self._refuse(node)
            if isinstance(node, (nodes.Getattr, nodes.Getitem, nodes.Name)):
                self._value(node, sure, asking)
            self._children(node, sure, asking)

    def _children(self, node: nodes.Node, sure: frozenset[str], asking: bool) -> None:
        for child in node.iter_child_nodes():
            if not isinstance(node, (nodes.Getattr, nodes.Getitem)) or not isinstance(child, nodes.Name):
                self.walk(child, sure, asking)

    def _condition(self, node: nodes.If | nodes.CondExpr, sure: frozenset[str], asking: bool) -> None:
        self.walk(node.test, sure, asking=True)
        inside = sure | _filled(node.test)
        if isinstance(node, nodes.CondExpr):
            self.walk(node.expr1, inside, asking)
            if node.expr2 is not None:
                self.walk(node.expr2, sure, asking)
            return
        for child in node.body:
            self.walk(child, inside)
        for child in (*node.elif_, *node.else_):
            self.walk(child, sure)

    def _refuse(self, node: nodes.Node) -> None:
        """Find what templates may not do at all."""
        if isinstance(node, _FOREIGN):
            self._add(node, "a template cannot read other templates", "use <mj-include path=…/> for shared parts")
        elif isinstance(node, nodes.ScopedEvalContextModifier):
            self._add(node, "escaping cannot be switched off", "leave {% autoescape %} out")
        elif isinstance(node, nodes.Filter):
            self._known(node, self.environment.filters, "filter")
        elif isinstance(node, nodes.Test):
            self._known(node, self.environment.tests, "test")
        elif isinstance(node, nodes.Call) and _dotted(node.node) == "links.to":
            self._link(node)
        elif (attribute := _attribute(node)) is not None and attribute.startswith("_"):
            self._add(node, f"`{attribute}` is not safe in a template", "names that start with _ cannot be used")

    def _known(self, node: nodes.Filter | nodes.Test, known: Iterable[str], what: str) -> None:
        if node.name not in known:
            self.unknown_parts = True
            self._add(node, f"there is no {what} `{node.name}`", did_you_mean(node.name, known))

    def _link(self, node: nodes.Call) -> None:
        """Check where `links.to("campaign/step")` leads, when it says so in so many words."""
        if len(node.args) != 1 or node.kwargs or node.dyn_args or node.dyn_kwargs:
            self._add(node, "`links.to` takes the name of one step", 'write links.to("campaign/step")')
            return
        step = node.args[0].value if isinstance(node.args[0], nodes.Const) else None
        if step is None or self.names.steps.get(step) is False:
            return
        on_site = [name for name, is_mail in self.names.steps.items() if not is_mail]
        remedy = did_you_mean(str(step), on_site) or "a form or a page can be linked to; there is none yet"
        what = f"{step} is a mail, not a form or page" if step in self.names.steps else f"there is no step {step}"
        self._add(node, what, remedy)

    def _value(self, node: nodes.Getattr | nodes.Getitem | nodes.Name, sure: frozenset[str], asking: bool) -> None:
        """Check one use of a value: whether it exists, and whether it may be empty."""
        dotted = _dotted(node)
        if dotted is None:
            return
        name, _, attribute = dotted.partition(".")
        known = self.names.attributes.get(name)
        if known is None or attribute.startswith("_"):
            return
        if attribute and attribute not in known:
            self._add(node, f"{name} has no `{attribute}`", did_you_mean(attribute, known))
        elif attribute and name in self.names.empty and name not in sure and dotted not in sure:
            self._add(node, f"not everybody has an {name}", f"put it between {{% if {name} %}} and {{% endif %}}")
        elif attribute and not asking and dotted not in sure and self._may_be_empty(dotted, sure):
            remedy = f"write {{{{ {dotted} or '…' }}}}, or put it between {{% if {dotted} %}} and {{% endif %}}"
            self._add(node, f"{dotted} is empty for some", remedy, warning=True)

    def _may_be_empty(self, dotted: str, sure: frozenset[str]) -> bool:
        unknown = dotted in self.names.empty_when_unknown and "known" not in sure
        return unknown or dotted in self.names.empty

    def _add(self, node: nodes.Node, message: str, remedy: str | None = None, warning: bool = False) -> None:
        self.findings.append(Finding(node.lineno, message, remedy, warning))


def _dotted(node: nodes.Node) -> str | None:
    """Give `person.first_name` for a plain name with at most one attribute, else None."""
    if isinstance(node, nodes.Name):
        return node.name if node.ctx == "load" else None
    attribute = _attribute(node)
    if isinstance(node, (nodes.Getattr, nodes.Getitem)) and isinstance(node.node, nodes.Name) and attribute is not None:
        return f"{node.node.name}.{attribute}"
    return None


def _attribute(node: nodes.Node) -> str | None:
    """Give the attribute that `x.name` or `x["name"]` reads, else None."""
    if isinstance(node, nodes.Getattr):
        return node.attr
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return str(node.arg.value)
    return None


def _filled(test: nodes.Node) -> frozenset[str]:
    """List the dotted names that are filled when a condition holds."""
    if isinstance(test, nodes.And):
        return _filled(test.left) | _filled(test.right)
    if isinstance(test, nodes.Not) and isinstance(test.node, nodes.Test) and test.node.name == "none":
        return _filled(test.node.node)
    dotted = _dotted(test)
    return frozenset() if dotted is None else frozenset((dotted,))
