"""The deployment: one project with its stores, and the work that Dagster, the CLI and tests ask of it.

This is the only place where the domain's parts are put together. It imports no Dagster: an asset or
op calls one of these methods and tells what happened.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property

from smp_pipelines.audience.audiences import Audiences
from smp_pipelines.audience.explaining import Explaining
from smp_pipelines.audience.groups import TargetGroups
from smp_pipelines.audience.history import History
from smp_pipelines.campaign.calendar import is_quiet
from smp_pipelines.campaign.checks import check_project
from smp_pipelines.campaign.content.checks import check_content
from smp_pipelines.campaign.project import StepRef, load_project
from smp_pipelines.flow.checks import fit_to_run, flow_problems, steps_of
from smp_pipelines.flow.judging import LakeJudge
from smp_pipelines.flow.ticking import Ticked, tick
from smp_pipelines.flow.version import Draft
from smp_pipelines.problems import Problem, ProjectError, SmpError
from smp_pipelines.reporting.flows import mirror_flows
from smp_pipelines.reporting.freshness import (
    Freshness,
    begin,
    note_mirrored,
    note_published,
    read_freshness,
    read_mirrored,
)
from smp_pipelines.reporting.moments import Moments
from smp_pipelines.reporting.report import Published, publish, refresh_metrics
from smp_pipelines.selection.audience_tests.files import is_of
from smp_pipelines.selection.library import load_library
from smp_pipelines.selection.runs import SelectionRun, read_selection_run
from smp_pipelines.selection.unit_tests.runner import read_all_cases
from smp_pipelines.sending import cancelling, ledger, overruling, unknown
from smp_pipelines.sending.context import Recipient
from smp_pipelines.sending.delivery import Delivering, Delivery
from smp_pipelines.sending.due import Due, Skipped, due, ended
from smp_pipelines.sending.estate import settle_estates
from smp_pipelines.sending.events import note_run, plan_events, take
from smp_pipelines.sending.given import Sent, plan_given, trigger_key
from smp_pipelines.sending.ledger import Purpose, Send, Totals
from smp_pipelines.sending.message import MessageBuilder
from smp_pipelines.sending.outbox import Outbox
from smp_pipelines.sending.planning import StaleSelectionError, judged_by, plan
from smp_pipelines.sending.status import StatusChange, change_status, read_status, read_statuses
from smp_pipelines.sending.target.group import refuse_unlinked
from smp_pipelines.sending.testmail import refuse_outsiders, testmail_key
from smp_pipelines.sending.transports import open_transport
from smp_pipelines.stores.clock import Clock
from smp_pipelines.stores.fingerprint import Fingerprint, fingerprint
from smp_pipelines.stores.locks import locked
from smp_pipelines.stores.settings import Settings
from smp_pipelines.warehouse import Warehouse

MOMENTS = "smp.contact_moment"


class Deployment(Warehouse):
    """A project, loaded and checked, with the way to its stores."""

    @classmethod
    def load(cls, settings: Settings) -> Deployment:
        """Read the project's files. Raises ProjectError; a broken selection only breaks what uses it."""
        project = load_project(settings.project)
        made = cls(settings, project, load_library(project))
        _ = made.files
        return made

    @cached_property
    def files(self) -> Fingerprint:
        """The project's files as they were when it was loaded, to see that it was edited since."""
        return fingerprint(self.settings.project)

    @cached_property
    def audiences(self) -> Audiences:
        """The project's selections over this deployment's stores."""
        return Audiences(self)

    @cached_property
    def groups(self) -> TargetGroups:
        """The target groups of the project's steps that are more than one selection."""
        return TargetGroups(self, self.audiences)

    @cached_property
    def history(self) -> History:
        """The past of the project's selections and sends."""
        return History(self, self.audiences)

    @cached_property
    def explaining(self) -> Explaining:
        """Why somebody gets a step or not (X4)."""
        return Explaining(self, self.audiences)

    def change_status(
        self, step: str, status: str, now: datetime, by: str, reason: str | None = None
    ) -> StatusChange | None:
        """Give a step another status; None when it has it already.

        Raises SmpError for a step that does not exist, and when a step would go live with errors (F39), or with a
        schedule and a frozen group that nobody linked: at its moment nobody is there to see that (F57).
        """
        ref = self.project.step(step)
        if status == "live":
            self.refuse_incomplete(ref)
        with self.connection() as postgres:
            if status == "live" and ref.step.schedule is not None:
                refuse_unlinked(postgres, ref)
            return change_status(postgres, ref.key, status, now, by, reason)

    def refuse_incomplete(self, ref: StepRef) -> None:
        """Raise ProjectError with what is wrong in the files that a step is made of: it must not be sent (F17, F39)."""
        for name in ref.step.selections:
            self.library.get(name)
        shown = self.project.campaigns_folder / (ref.content_key or ref.key).partition("/")[0]
        problems = [
            problem
            for problem in [*check_project(self.project), *check_content(ref, self.project), *self.library.problems]
            if not problem.warning
            and problem.file
            and (
                {ref.folder, shown} & set(problem.file.parents)
                or is_of(problem.file, ref.step.selections, self.library.folder)
                or (ref.step.form and problem.file == self.project.form_file(ref.step.form))
            )
        ]
        if problems:
            raise ProjectError(problems)

    def complete_flow(self, flow: str) -> tuple[Draft, list[str]]:
        """A flow that may go live, and the steps that go with it. Raises ProjectError for what is wrong there (F39)."""
        made = fit_to_run(self.project, self.library, flow)
        steps, problems = steps_of(self.project, made), list[Problem]()
        for key in steps:
            try:
                self.refuse_incomplete(self.project.step(key))
            except ProjectError as error:
                problems += error.problems
        if problems:
            raise ProjectError(list(dict.fromkeys(problems)))
        return made, steps

    def refuse_to_send(self, ref: StepRef, now: datetime) -> None:
        """Raise SmpError when a step may not be sent at this moment: it is not live, or it is night (F22, F23)."""
        with self.connection() as postgres:
            status = read_status(postgres, ref.key)
            if status.status != "live":
                raise SmpError(f"{ref.key} is {status.status}; only live sends: `smp step status {ref.key} live`")
            refuse_unlinked(postgres, ref)
        if is_quiet(now.astimezone(self.project.settings.zone).time()):
            raise SmpError("nothing is sent between 23:00 and 06:00")

    def stop_ended(self, now: datetime) -> list[str]:
        """Give live steps whose end date has passed the status stopped; says which (F19)."""
        with self.connection() as postgres:
            statuses = read_statuses(postgres, [ref.key for ref in self.project.steps()])
            done = ended(self.project, statuses, now)
            for ref in done:
                change_status(postgres, ref.key, "stopped", now, "smp", "its end date has passed")
        return [ref.key for ref in done]

    def due(self, now: datetime) -> tuple[list[Due], list[Skipped]]:
        """Everything that has to be sent now, and what is not sent and why.

        First it is tidied up: after workers of this machine that died, and in sends that were cancelled.
        """
        with self.connection() as postgres:
            settle_estates(postgres, self.settings.journals_folder, now)
            cancelling.skip_returned(postgres, now)
            return due(postgres, self.project, now)

    def open_send(self, ref: StepRef, send_key: str, moment: datetime, now: datetime, run_id: str | None) -> Send:
        """The send with this key, made when it is not there."""
        with self.connection() as postgres:
            return ledger.open_send(postgres, send_key, ref.key, moment, now, run_id, ref.step.purpose)

    def plan(self, ref: StepRef, send: Send, now: datetime, run_id: str | None) -> Send:
        """Plan a send from what this Dagster run materialised, its selections or its target group, or from fresh ones.

        An internal send has two selections: the colleagues, and the records that each of them gets (F26).
        """
        self.refuse_incomplete(ref)
        if send.state != "planning":
            return send
        if not ref.step.has_group:
            raise SmpError(f"{ref.key} has no selection")
        names = (ref.key,) if ref.step.own_group else ref.step.selections
        with self.connection() as postgres:
            found = [read_selection_run(postgres, name, run_id) for name in names] if run_id else []
            for _attempt in range(5):
                made = [each for each in found if each is not None]
                if len(made) < len(names):
                    made = self._fresh_selections(ref, now, run_id)
                try:
                    records = made[-1] if ref.step.internal else None
                    with self.lake.open() as lake:
                        return plan(postgres, lake, self.project, ref, send, made[0], now, records)
                except StaleSelectionError:
                    found = []
        raise SmpError(f"{ref.key} is being planned by others all the time; try again")

    def _fresh_selections(self, ref: StepRef, now: datetime, run_id: str | None) -> list[SelectionRun]:
        tables = judged_by(self.project, ref)
        if ref.step.is_frozen:
            self.refresh(tables)
            return [self.groups.evaluate(ref, now, run_id).run]
        self.mirror(sorted(tables))
        runs = self.groups.fresh_runs(ref, now, run_id)
        return [self.groups.evaluate(ref, now, run_id, runs).run] if ref.step.own_group else runs

    def open_and_plan_given(
        self,
        ref: StepRef,
        send_key: str,
        recipients: Sequence[Recipient],
        purpose: Purpose,
        now: datetime,
        run_id: str | None,
    ) -> Send:
        """A planned send to given people; one with this key that is there already is left as it is (F05, F28)."""
        self.refuse_incomplete(ref)
        with self.connection() as postgres, postgres.transaction():
            send = ledger.open_send(postgres, send_key, ref.key, now, now, run_id, purpose)
            return plan_given(postgres, self.project, ref, send, recipients, now)

    def tick_flows(self, now: datetime) -> list[Ticked]:
        """Do whatever is due in the flows that run; what they mail is in the outbox then (`take_events`)."""
        judge = LakeJudge(self.lake, self.project.settings.zone, self.refresh_read)
        with self.connection() as postgres:
            return tick(postgres, self.project, judge, now)

    def take_events(self, now: datetime, run_id: str | None = None) -> list[Send]:
        """Sends, still to be planned, of the events that wait: each event goes into one send, whoever asks (F05)."""
        with self.connection() as postgres:
            return take(postgres, self.project, now, run_id)

    def linger(self, clock: Clock, run_id: str, seconds: float, longest: float) -> Iterator[Send]:
        """Sends of the events that come next: until none came for so many seconds, or `longest` seconds have passed.

        A project that is edited meanwhile ends it as well: what comes then is for those who have loaded it anew.
        """
        folder, until = self.settings.project, time.monotonic() + longest
        with self.connection() as postgres:
            outbox = Outbox(postgres, self.project, clock)
            while (left := until - time.monotonic()) > 0:
                sends = outbox.linger(min(seconds, left), run_id, lambda: fingerprint(folder) != self.files)
                if not sends:
                    return
                yield from sends

    def plan_events(self, ref: StepRef, send: Send, now: datetime, run_id: str | None) -> Send:
        """A send that took events, planned from them; one that was planned before is left as it is (F05)."""
        self.refuse_incomplete(ref)
        with self.connection() as postgres:
            if run_id is not None:
                note_run(postgres, send, run_id)
            return plan_events(postgres, self.project, ref, send, now)

    def trigger(
        self, ref: StepRef, recipients: Sequence[Recipient], key: str, clock: Clock, run_id: str | None
    ) -> Sent:
        """Send a trigger step to these people now, in this process; `key` is what it follows (F05).

        Asked again with the same key, it goes on with the same send. At night it is planned, and held until 06:00.
        """
        send_key = trigger_key(ref, key)
        send = self.open_and_plan_given(ref, send_key, recipients, ref.step.purpose, clock.now(), run_id)
        return self._sent(send, self.deliver(send, clock))

    def send_test(self, ref: StepRef, people: Sequence[int], record_id: int | None, clock: Clock, run_id: str) -> Sent:
        """Send a test mail to internal test persons now, whatever the step's status and the hour (F28).

        Raises SmpError that names everybody who may get none; then nobody is mailed.
        """
        with self.connection() as postgres:
            refuse_outsiders(postgres, people)
        now = clock.now()
        recipients = [(person_id, record_id) for person_id in people]
        send = self.open_and_plan_given(ref, testmail_key(ref, now, run_id), recipients, "test", now, run_id)
        return self._sent(send, self.deliver(send, clock))

    def _sent(self, send: Send, done: Delivery) -> Sent:
        with self.connection() as postgres:
            return Sent(ledger.read_send(postgres, send.send_id), ledger.totals(postgres, send), done.held)

    def deliver(
        self,
        send: Send,
        clock: Clock,
        progress: Callable[[Delivery], None] | None = None,
        *,
        processes: int | None = None,
    ) -> Delivery:
        """Deliver what is left of a send, with as many processes as it is worth (at most `processes`)."""
        most = processes or self.settings.processes
        return Delivering(self.settings, self.url, self.project, send, clock, processes=most).run(progress)

    def totals(self, send: Send) -> Totals:
        """The counts of a send as they are now."""
        with self.connection() as postgres:
            return ledger.totals(postgres, send)

    def cancel_send(self, number: int, now: datetime, by: str, reason: str) -> int:
        """Cancel what is left of a send, with audit; says how many rows. Raises SmpError for one that is finished."""
        with self.connection() as postgres:
            return cancelling.cancel(postgres, ledger.read_send(postgres, number), now, by, reason)

    def overrule(self, number: int, by: str, reason: str, clock: Clock, run_id: str) -> Sent:
        """Let a send go that an audience test stopped, as a new send, once and with audit (X5); asked again, go on.

        Raises SmpError that says why it may not go. `run_id` is that of the selections that are evaluated for it.
        """
        now = clock.now()
        with self.connection() as postgres:
            send = ledger.read_send(postgres, number)
            new = overruling.under_way(postgres, send)
        ref = self.project.step(send.step)
        self.refuse_to_send(ref, now)
        self.refuse_incomplete(ref)
        if new is None:
            runs = self._fresh_selections(ref, now, run_id)
            with self.connection() as postgres:
                overruling.refuse_new_failures(postgres, send, [run.selection_run_id for run in runs])
                new = overruling.open_overruled(postgres, send, ref.step.purpose, now, by, reason, run_id)
        new = self.plan(ref, new, now, run_id)
        return self._sent(new, self.deliver(new, clock))

    def look_up(self, send: Send, now: datetime) -> Counter[str]:
        """Ask the transport what became of the unknown rows of a send, and resolve those that it knows."""
        step = self.project.step(send.step).step
        builder = MessageBuilder(sender=step.sender, reply_to=step.reply_to, step=send.step, send_key=send.send_key)
        transport = open_transport(self.settings.transport_url)
        with self.connection() as postgres:
            return unknown.look_up(postgres, send, transport, builder.message_id, now)

    def follow_moments(self) -> Moments:
        """Bring the lake's contact moments and flows up to date, and remember what they have seen."""
        with self.connection() as postgres:
            seen = begin(postgres)
        moments = self.mirror_moments()
        with locked(self.url, "flows"), self.lake.open() as lake:
            mirror_flows(lake)
        with self.connection() as postgres:
            note_mirrored(postgres, seen)
        return moments

    def freshness(self) -> Freshness:
        """What happened that the report file does not show yet."""
        with self.connection() as postgres:
            return read_freshness(postgres)

    def refresh_metrics(self) -> tuple[int, int]:
        """Compute the metrics anew from the lake's contact moments."""
        with locked(self.url, "metrics"), self.lake.open() as connection:
            return refresh_metrics(connection)

    def publish(self, now: datetime) -> Published:
        """Write the report file as at this moment and put it in its place. Raises ProjectError for a bad mart."""
        marts = self.library.marts(now)
        with locked(self.url, "report"), self.connection() as postgres:
            seen = read_mirrored(postgres)
            with self.lake.open() as connection:
                published = publish(connection, self.project, marts, self.settings.report_file)
            note_published(postgres, seen, now)
        return published


def check(settings: Settings) -> list[Problem]:
    """Everything that is wrong, or doubtful, in a project's files (`smp check`)."""
    try:
        project = load_project(settings.project)
    except ProjectError as error:
        return error.problems
    contents = [problem for ref in project.steps() for problem in check_content(ref, project)]
    # a layout that several steps share is told once
    library = load_library(project)
    tests = read_all_cases(project, library)[1]
    flows = flow_problems(project, library)
    return list(dict.fromkeys([*check_project(project), *contents, *library.problems, *tests, *flows]))
