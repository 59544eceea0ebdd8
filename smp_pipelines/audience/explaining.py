"""Explaining: why somebody gets a step or not, now or at a moment in the past, over a deployment's stores (X4)."""

# ruff: noqa: S608  names are quoted, ids are whole numbers
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
import sqlglot
from sqlglot import exp

from smp_pipelines.audience.audiences import Audiences
from smp_pipelines.campaign.project import StepRef
from smp_pipelines.problems import SmpError
from smp_pipelines.selection.clock import rewrite_clock
from smp_pipelines.selection.gate import duckdb_sql
from smp_pipelines.selection.history.past import standing
from smp_pipelines.selection.predicates.judging import Judgement, Question, judge, rows_of
from smp_pipelines.selection.predicates.moments import gather_near, near_people
from smp_pipelines.selection.runs import SelectionRun, last_run, read_run, run_at
from smp_pipelines.sending.cap import cap_of
from smp_pipelines.sending.ledger import ClaimRules, Send
from smp_pipelines.sending.planning import claim_rules, judged_by
from smp_pipelines.sending.why import facts as why_facts
from smp_pipelines.sending.why.answer import Rule, Scene, Why, answer, campaign_rule, selection_rules
from smp_pipelines.sending.why.facts import Mail
from smp_pipelines.sending.why.steps import next_moment, step_rules
from smp_pipelines.stores.lake import identifier, rows, transaction
from smp_pipelines.stores.postgres import Connection
from smp_pipelines.warehouse import Warehouse

Selected = list[tuple[int, int | None]]
"""People, each with the linked record that they are selected with."""


@dataclass(frozen=True)
class _Case:
    """One question: the step, the moment of its send, the lake to look in, and the runs when it is about the past."""

    ref: StepRef
    rules: ClaimRules
    lake: duckdb.DuckDBPyConnection
    postgres: Connection
    moment: datetime
    at: datetime | None
    run: SelectionRun | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The column of the linked record in the selections of people, if they have one."""
        internal = self.ref.step.internal is not None
        return () if self.rules.record is None or internal else (self.rules.record.key,)


class Explaining:
    """Answers for people of one project, over its warehouse."""

    def __init__(self, warehouse: Warehouse, audiences: Audiences) -> None:
        self._warehouse = warehouse
        self._project = warehouse.project
        self._library = warehouse.library
        self._audiences = audiences

    def why(
        self,
        ref: StepRef,
        people: Sequence[int],
        now: datetime,
        at: datetime | None = None,
        moment: datetime | None = None,
    ) -> list[Why]:
        """Why these people get a step at its next send or not; `moment`: at a send for that moment instead.

        With `at`, not after `now`: as the run of its selection that stood then read the lake. Raises SmpError when
        there was none yet, or the lake does not keep what it read.
        """
        for name in ref.step.selections:
            self._library.get(name)
        with self._warehouse.connection() as postgres:
            if at is not None and at < now and ref.step.has_group:
                return self._past(postgres, ref, people, at)
            self._refresh(ref)
            upcoming = next_moment(postgres, self._project, ref, now) if moment is None and at is None else None
            moment = moment or at or (upcoming.moment if upcoming else now)
            sent = upcoming.send_id if upcoming else None
            # one transaction: everything is read from one snapshot, which DuckLake then looks up once
            with self._warehouse.lake.open_for_selections() as lake, transaction(lake):
                case = _Case(ref, self._rules(ref), lake, postgres, moment, None, None)
                return self._answers(case, people, sent, lake)

    def _past(self, postgres: Connection, ref: StepRef, people: Sequence[int], at: datetime) -> list[Why]:
        name = ref.key if ref.step.own_group else str(ref.step.people[0])
        run = self._run_at(postgres, ref, name, at)
        if run.pin is None:
            raise SmpError(f"run {run.selection_run_id} of {name} does not say which data it read: it is too old")
        self._warehouse.mirror_moments()
        sent = postgres.execute(
            "select send_id from smp.send where step = %s and selection_run_id = %s and state <> 'planning'"
            " and moment <= %s order by send_id desc limit 1",
            (ref.key, run.selection_run_id, at),
        ).fetchone()
        with (
            self._warehouse.lake.open_for_selections() as present,
            self._warehouse.lake.open_for_selections(run.pin) as lake,
            transaction(lake),
        ):
            case = _Case(ref, self._rules(ref), lake, postgres, run.moment, at, run)
            return self._answers(case, people, sent[0] if sent else None, present)

    def _run_at(self, postgres: Connection, ref: StepRef, name: str, at: datetime) -> SelectionRun:
        """The run that the step's last send by then was planned from, or one that came after it."""
        sent = postgres.execute(
            "select max(selection_run_id) from smp.send where step = %s and purpose = %s and moment <= %s",
            (ref.key, ref.step.purpose, at),
        ).fetchone()
        stood = run_at(postgres, name, at)
        if sent and sent[0] is not None and (stood is None or stood.selection_run_id < sent[0]):
            return read_run(postgres, sent[0])
        return stood or standing(postgres, name, at, self._project.settings.zone)

    def _rules(self, ref: StepRef) -> ClaimRules:
        rules = claim_rules(self._project, ref.step, ref.step.purpose)
        # what triggers a step says which record it is about; who asks does not
        return rules if ref.step.has_group else replace(rules, record=None, block=None)

    def _refresh(self, ref: StepRef) -> None:
        """Bring every table up to date that the answer is read from; other selections are read as queries."""
        read = self._library.tables(self._library.with_upstream(*ref.step.selections))
        self._warehouse.refresh(read | judged_by(self._project, ref))

    def _answers(
        self, case: _Case, people: Sequence[int], sent: int | None, present: duckdb.DuckDBPyConnection
    ) -> list[Why]:
        ref, project, lake = case.ref, self._project, case.lake
        near = why_facts.near_in_crm(case.postgres, people) if case.at is None else near_people(lake, people)
        gather_near(lake, near)
        cap = cap_of(project, ref, Send(0, "", ref.key, ref.step.purpose, case.moment, "planning", 0))
        mails = why_facts.mails_under(lake, near, cap)
        used = why_facts.used(lake, project, ref, near, case.moment, case.moment)
        used += why_facts.held(case.postgres, project, ref, near)
        if case.rules.deduplicate:
            used = why_facts.with_sharing(lake, used)
        groups, selected = self._selected(case, people, near, present, used)
        why_facts.load_selected(lake, case.rules, selected)
        planned = why_facts.judge_rows(lake, case.rules, cap, mails, {mail.person_id for mail in used})
        facts = defaultdict(list)
        for each in why_facts.facts_of(lake, case.rules, people):
            facts[each.person_id].append(each)
        runs = [case.run] if case.run else self._latest(case)
        told = tuple(step_rules(case.postgres, project, ref, case.moment, runs, case.at))
        zone = project.settings.zone
        scene = Scene(ref.key, case.rules, cap, case.moment, zone, told, sent, past=case.at is not None)
        ledger = why_facts.in_ledger(present, ref, people, case.at or case.moment, near=case.at is None)
        return [
            answer(
                scene,
                facts[person],
                [each for each in planned if each.person_id == person],
                groups[person],
                [mail for mail in mails if mail.person_id == person],
                [mail for mail in used if mail.person_id == person],
                ledger.get(person, []),
            )
            for person in people
        ]

    def _latest(self, case: _Case) -> list[SelectionRun]:
        names = (case.ref.key,) if case.ref.step.own_group else case.ref.step.selections
        return [run for name in names if (run := last_run(case.postgres, name)) is not None]

    def _selected(
        self,
        case: _Case,
        people: Sequence[int],
        near: Sequence[int],
        present: duckdb.DuckDBPyConnection,
        used: Sequence[Mail],
    ) -> tuple[Mapping[int, list[Rule]], Selected]:
        """Who is selected, with which record, among people who share an address; and the rules that see to that."""
        ref, zone = case.ref, self._project.settings.zone
        groups: dict[int, list[Rule]] = {person: [] for person in people}
        if not ref.step.has_group:
            return groups, [(person, None) for person in near]
        found: set[tuple[int, int | None]] = set()
        # a frozen group was laid down: what its selections say now does not matter
        for name in () if ref.step.is_frozen else ref.step.people:
            with self._audiences.words_for(name):
                question = self._question(case, name)
                judged = judge(case.lake, question, people, case.columns, near=True)
                for person, judgement in judged.items():
                    groups[person] += selection_rules(judgement, name, zone)
                found |= self._rows_of(case, question, near, judged)
        if ref.step.is_frozen:
            found = set(self._members(case, near, groups))
        if ref.step.own_group:
            apart = {mail.person_id for mail in used}
            left_out = {person for person, _record in found if person in apart}
            found = {row for row in found if row[0] not in apart}
            if case.run is not None:
                found = set(self._as_written(case, case.run, near, present))
            # who is in the group all the same has this rule at the row, and who is not selected lacks more than this
            for person in left_out.intersection(people) - {person for person, _record in found}:
                groups[person].append(campaign_rule([mail for mail in used if mail.person_id == person], zone))
        selected = list(found)
        if ref.step.internal is not None:
            selected = [(person, record) for person, _none in selected for record in self._records(case)]
        return groups, selected

    def _rows_of(
        self, case: _Case, question: Question, near: Sequence[int], judged: Mapping[int, Judgement]
    ) -> set[tuple[int, int | None]]:
        """The rows of a selection about people near; only who was not judged, or is in with a record, is looked up."""
        there = {person for person, judgement in judged.items() if judgement.is_in}
        found: set[tuple[int, int | None]] = set() if case.columns else {(person, None) for person in there}
        asked = [person for person in near if person not in judged or (case.columns and person in there)]
        for row in rows_of(case.lake, question, asked, case.columns, near=True):
            found.add((row[0], row[1] if case.columns else None))
        return found

    def _question(self, case: _Case, name: str) -> Question:
        """The query of a selection: as the files have it now, or as it ran."""
        zone = self._project.settings.zone
        if case.at is None:
            upstream = {each: self._library.get(each).query for each in self._library.with_upstream(name)[:-1]}
            return Question(name, self._library.get(name).query, case.moment, zone, upstream, afresh=True)
        run = (
            case.run
            if case.run is not None and case.run.selection == name
            else standing(case.postgres, name, case.at, zone)
        )
        others: dict[str, exp.Query] = {}
        for each in self._library.with_upstream(name)[:-1]:
            other = run_at(case.postgres, each, run.moment)
            if other is not None and other.sql is not None:
                others[each] = _parsed(other)
        return Question(name, _parsed(run), run.moment, zone, others)

    def _records(self, case: _Case) -> list[int]:
        """The records that an internal send shows each colleague (F26)."""
        name = case.ref.step.selections[-1]
        key = case.rules.record.key if case.rules.record else "record_id"
        if case.at is None:
            text = self._library.sql_afresh(name, case.moment)
        else:
            run = standing(case.postgres, name, case.at, self._project.settings.zone)
            text = duckdb_sql(rewrite_clock(_parsed(run), run.moment, self._project.settings.zone))
        return [record for (record,) in rows(case.lake, f"select distinct {identifier(key)} from ({text})")]

    def _as_written(
        self, case: _Case, run: SelectionRun, near: Sequence[int], present: duckdb.DuckDBPyConnection
    ) -> Iterator[tuple[int, int | None]]:
        """The people of a target group as a run wrote it."""
        record = identifier(case.columns[0]) if case.columns else "null"
        people = why_facts.numbers(near)
        table = f"{run.table} at (version => {int(run.snapshot_id)})"
        yield from rows(present, f"select person_id, {record} from {table} where person_id in ({people})")

    def _members(
        self, case: _Case, near: Sequence[int], groups: dict[int, list[Rule]]
    ) -> Iterator[tuple[int, int | None]]:
        """The people of a frozen group who did not get the step yet; and what each is told of it."""
        zone = self._project.settings.zone
        members = case.postgres.execute(
            "select person_id, record_id, linked, source, since from smp.target_member"
            " where step = %s and person_id = any (%s)",
            (case.ref.key, list(near)),
        ).fetchall()
        got = why_facts.reached(case.lake, case.ref)
        for person, written, linked, source, since in members:
            record = written if case.columns else None
            had = [each for each in got if each.person_id == person and (not case.columns or each.record_id == record)]
            when = f"{since.astimezone(zone):%Y-%m-%d %H:%M}"
            told = f"{'linked' if linked else 'unlinked'} on {when} ({source})"
            if linked and had:
                by = "" if had[0].via == person else f"person {had[0].via} has the same address and "
                told += f"; {by}got this step on {had[0].happened_at.astimezone(zone):%Y-%m-%d %H:%M}"
            if person in groups:
                groups[person].append(Rule("target group", linked and not had, told))
            if linked and not had:
                yield person, record
        for person, rules in groups.items():
            if not any(row[0] == person for row in members):
                rules.append(Rule("target group", False, "is not in the frozen group"))


def _parsed(run: SelectionRun) -> exp.Query:
    query = sqlglot.parse_one(run.sql or "", dialect="duckdb")
    if not isinstance(query, exp.Query):
        raise SmpError(f"run {run.selection_run_id} of {run.selection} does not say which SQL ran: it is too old")
    return query
