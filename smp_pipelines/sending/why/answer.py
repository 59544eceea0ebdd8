"""Why (not) me: every rule between a person and a mail, in the order in which the system applies them (X4).

Pure: facts come in (facts.py, selection/predicates.py), words come out, with what was found and since when.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from smp_pipelines.selection.predicates.judging import Finding, Judgement
from smp_pipelines.sending.cap import Cap
from smp_pipelines.sending.ledger import ClaimRules
from smp_pipelines.sending.reasons import explain
from smp_pipelines.sending.why.facts import Facts, InLedger, Mail, Planned

_SHOWN = 5
"""Mails that are named one by one."""


@dataclass(frozen=True)
class Rule:
    """One rule: whether it lets the mail through (None: it may stop it, or cannot be told now), and what was found."""

    name: str
    ok: bool | None
    told: str


@dataclass(frozen=True)
class About:
    """What planning makes of somebody with one linked record (or none), and the rules that see to that."""

    record_id: int | None
    planned: Planned
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Why:
    """The answer for one person. `rows` is empty for who is not selected; `ledger` is what became of them in sends."""

    person_id: int
    step: str
    conclusion: str
    gets: bool
    rules: tuple[Rule, ...]
    rows: tuple[About, ...]
    ledger: tuple[InLedger, ...]


@dataclass(frozen=True)
class Scene:
    """What is the same for everybody: the step, its rules, the moment of the send and the project's zone.

    `sent` is the send that has this moment already, if there is one; `past`: the question is about the past.
    """

    step: str
    rules: ClaimRules
    cap: Cap | None
    moment: datetime
    zone: ZoneInfo
    step_rules: tuple[Rule, ...]
    sent: int | None = None
    past: bool = False

    def at(self, moment: datetime) -> str:
        """A moment as people read it, in local time."""
        return f"{moment.astimezone(self.zone):%Y-%m-%d %H:%M}"


def answer(
    scene: Scene,
    facts: Sequence[Facts],
    planned: Sequence[Planned],
    groups: Sequence[Rule],
    mails: Sequence[Mail],
    used: Sequence[Mail],
    ledger: Sequence[InLedger],
) -> Why:
    """The answer for one person: `facts`, `planned`, `mails` (of the frequency cap) and `used` are theirs.

    `groups` are the rules of the selections or the target group.
    """
    person = facts[0].person_id
    by_record = {each.record_id: each for each in facts}
    rows = tuple(
        About(each.record_id, each, tuple(_row_rules(scene, by_record[each.record_id], each, mails, used)))
        for each in sorted(planned, key=lambda one: one.record_id or 0)
    )
    rules = (*scene.step_rules, *groups, *_person_rules(scene, facts[0]))
    conclusion, gets = _conclusion(scene, person, rules, groups, rows, by_record, ledger)
    return Why(person, scene.step, conclusion, gets, rules, rows, tuple(ledger))


def selection_rules(judgement: Judgement, name: str, scene_zone: ZoneInfo) -> list[Rule]:
    """The predicates of a selection as rules; those of other selections under their own names."""
    if judgement.is_in and not judgement.findings:
        return [Rule(f"selection {name}", True, "everybody is in it")]
    return [
        Rule(f"selection {each.selection}", each.holds or (None if judgement.is_in else False), words(each, scene_zone))
        for each in judgement.findings
    ]


def campaign_rule(used: Sequence[Mail], zone: ZoneInfo) -> Rule:
    """The rule that leaves somebody out because other steps of the campaign used them, or their address (F55)."""
    return Rule("campaign", False, f"{explain('used_in_campaign')}: {_mails(used, zone)}")


def words(finding: Finding, zone: ZoneInfo) -> str:
    """A predicate with the values that were found."""
    found = ", ".join(f"{name} = {value(each, zone)}" for name, each in finding.found.items())
    # a condition that fails is quoted with what was found; of a row that is missing there is nothing to find
    told = finding.predicate if finding.holds else re.sub(r"^has a row in ", "has no row in ", finding.predicate)
    return told + (f" (found: {found})" if found else "")


def value(found: object, zone: ZoneInfo) -> str:
    """A value as people read it: moments in local time, nothing as `nothing`."""
    if found is None:
        return "nothing"
    if isinstance(found, datetime):
        local = found.astimezone(zone) if found.tzinfo else found
        return f"{local:%Y-%m-%d %H:%M}"
    if isinstance(found, str):
        return f"'{found}'"
    if isinstance(found, bool):
        return str(found).lower()
    return f"{found:f}" if isinstance(found, Decimal) else str(found)


def _person_rules(scene: Scene, facts: Facts) -> Iterator[Rule]:
    if not facts.known:
        yield Rule("person", False, explain("person_gone"))
        return
    yield Rule("person", not facts.blocked, explain("person_blocked") if facts.blocked else "is in the CRM")
    if not facts.has_address:
        yield Rule("address", False, explain("no_address"))
        return
    yield Rule("address", not facts.broken, explain("broken_address") if facts.broken else "has an e-mail address")
    if facts.suppressed_for is not None:
        since = f" since {scene.at(facts.suppressed_since)}" if facts.suppressed_since else ""
        yield Rule("suppression", False, f"{explain('suppressed')}{since}: {facts.suppressed_for}")
    else:
        yield Rule("suppression", True, "the address is not on the list")
    yield _consent(scene, facts)


def _consent(scene: Scene, facts: Facts) -> Rule:
    about = f"{scene.rules.topic} by {scene.rules.channel}"
    if not scene.rules.consent:
        return Rule("consent", True, "does not count: it is a colleague's work to get this")
    if facts.granted is None:
        told = (
            f"never said yes to {about}" if scene.rules.opt_in else f"said nothing about {about}; a yes is not needed"
        )
        return Rule("consent", not scene.rules.opt_in, told)
    when = f" on {scene.at(facts.consent_changed_at)}" if facts.consent_changed_at else ""
    told = f"said {'yes' if facts.granted else 'no'} to {about}{when}, source: {facts.consent_source}"
    return Rule("consent", facts.granted, told)


def _row_rules(
    scene: Scene, facts: Facts, planned: Planned, mails: Sequence[Mail], used: Sequence[Mail]
) -> Iterator[Rule]:
    record = scene.rules.record
    if record is not None:
        what = f"{record.table.partition('.')[2]} {facts.record_id}"
        if not facts.record_known:
            yield Rule("record", False, f"{what}: {explain('record_gone')}")
        elif facts.record_blocked:
            yield Rule("record", False, f"{what}: {explain('record_blocked')} ({scene.rules.block})")
        else:
            yield Rule("record", True, f"{what}: {facts.record_title}")
    if used:
        yield campaign_rule(used, scene.zone)
    if scene.cap is not None:
        since = f"since {scene.at(scene.cap.since)}"
        listed = f": {_mails(mails, scene.zone)}" if mails else ""
        told = f"{len(mails)} of at most {scene.cap.mails} mails {since}{listed}"
        yield Rule("frequency cap", planned.reason != "frequency_cap" and len(mails) < scene.cap.mails, told)
    if scene.rules.deduplicate:
        if planned.winner is not None:
            yield Rule("de-duplication", False, f"person {planned.winner} has the same address and gets it instead")
        elif planned.reason is None:
            yield Rule("de-duplication", True, "nobody with the same address comes first")


def _mails(mails: Sequence[Mail], zone: ZoneInfo) -> str:
    listed = [f"{mail.step} ({mail.happened_at.astimezone(zone):%Y-%m-%d %H:%M})" for mail in mails[:_SHOWN]]
    more = [f"{len(mails) - _SHOWN} more"] if len(mails) > _SHOWN else []
    return ", ".join([*listed, *more])


def _conclusion(
    scene: Scene,
    person: int,
    rules: Sequence[Rule],
    groups: Sequence[Rule],
    rows: Sequence[About],
    by_record: Mapping[int | None, Facts],
    ledger: Sequence[InLedger],
) -> tuple[str, bool]:
    """The first line, and whether the person gets the mail."""
    who = f"Person {person}"
    does, gets = ("did not get", "got") if scene.past else ("does not get", "gets")
    mine = [each for each in ledger if each.send_id == scene.sent]
    if mine:
        return f"{who} is in the send of {scene.at(mine[0].moment)}: {_outcomes(mine)}", _received(mine)
    if not any(facts.known for facts in by_record.values()):
        return f"{who} {does} {scene.step}: there is nobody with this id in the CRM", False
    stopped = next((rule for rule in scene.step_rules if rule.ok is False), None)
    planned = [each for each in rows if each.planned.state == "planned"]
    if stopped is not None:
        failing = [rule for rule in (*rules, *(each for row in rows for each in row.rules)) if rule.ok is False]
        apart = "every other rule lets it through" if planned else _stopped_too(len(failing) - 1)
        return f"{who} {does} {scene.step}: {stopped.told}; {apart}", False
    if planned:
        about = ", ".join(_record(scene, by_record[each.record_id]) for each in planned if each.record_id is not None)
        when = f"at {scene.at(scene.moment)}" if scene.past else f"at the next send, {scene.at(scene.moment)}"
        return f"{who} {gets} {scene.step} {when}{f', about {about}' if about else ''}", True
    if rows:
        reasons = dict.fromkeys(
            next((rule.told for rule in (*rules, *each.rules) if rule.ok is False), explain(each.planned.reason or ""))
            for each in rows
        )
        return f"{who} {does} {scene.step}: {'; '.join(reasons)}", False
    failing = [rule for rule in groups if rule.ok is False]
    # what another selection asks, when that is why, says more than that they are not in it
    first = next((rule for rule in failing if rule.name == failing[-1].name), None)
    told = f"{first.name}: {first.told}" if first else "nobody selects them"
    return f"{who} {does} {scene.step}: not selected; {told}", False


def _stopped_too(more: int) -> str:
    if more == 0:
        return "nobody selects them"
    return "1 more rule stops it" if more == 1 else f"{more} more rules stop it"


def _record(scene: Scene, facts: Facts) -> str:
    table = scene.rules.record.table.partition(".")[2] if scene.rules.record else "record"
    return f"{table} {facts.record_id} ({facts.record_title})"


def _outcomes(rows: Sequence[InLedger]) -> str:
    return "; ".join(f"{each.outcome}{f', {explain(each.reason)}' if each.reason else ''}" for each in rows)


def _received(rows: Sequence[InLedger]) -> bool:
    return any(each.outcome in ("planned", "accepted", "unknown") for each in rows)
