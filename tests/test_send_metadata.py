"""What Dagster shows of a send while it runs and at its end, read back from the instance after real runs."""

from __future__ import annotations

import base64
import dataclasses
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from smp_pipelines.assets import progress
from smp_pipelines.assets.runs import run_tags
from smp_pipelines.assets.sends import send_key
from smp_pipelines.deployment import Deployment
from smp_pipelines.operations.tick import Ticker, by_hand
from smp_pipelines.reporting.throughput import Throughput, read_throughput
from smp_pipelines.sending import ledger
from smp_pipelines.sending.due import Due
from smp_pipelines.sending.ledger import Send
from tests.support.mailserver import Behaviour, MailServer
from tests.support.theatre import STEP, Theatre, theatre
from tests.support.waiting import PATIENCE

FIGURES = ("planned", "accepted", "skipped", "rejected", "unknown", "waiting")


@dataclass
class Run:
    """One run of a send: what its asset told, in the order in which it was told."""

    theatre: Theatre
    due: Due
    failure: str | None
    instance: dg.DagsterInstance

    @property
    def _key(self) -> dg.AssetKey:
        return send_key(self.due.ref)

    @property
    def observations(self) -> list[dg.EventLogRecord]:
        return self.instance.fetch_observations(self._key, limit=1000, ascending=True).records[:]

    @property
    def observed(self) -> list[dict[str, Any]]:
        seen = [record.asset_observation for record in self.observations]
        return [{key: value.value for key, value in each.metadata.items()} for each in seen if each is not None]

    @property
    def told(self) -> dict[str, Any]:
        """The metadata of the materialisation; {} when there is none."""
        event = self.instance.get_latest_materialization_event(self._key)
        if event is None or event.asset_materialization is None:
            return {}
        return {key: value.value for key, value in event.asset_materialization.metadata.items()}

    @property
    def log(self) -> list[str]:
        (run,) = self.instance.get_runs()
        return [entry.user_message for entry in self.instance.all_logs(run.run_id)]

    @property
    def delivered_at(self) -> float:
        """When the op that delivers ended."""
        (run,) = self.instance.get_runs()
        (end,) = [
            entry.timestamp
            for entry in self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_SUCCESS)
            if entry.step_key and ".deliver_" in entry.step_key
        ]
        return end


Stage = tuple[Theatre, dg.DagsterInstance]


@contextmanager
def staged(embedded_url: str, migrated_template: str, folder: Path) -> Iterator[Stage]:
    """A theatre whose step is live, and an instance of Dagster; a send is told of often."""
    with (
        pytest.MonkeyPatch.context() as patch,
        theatre(embedded_url, migrated_template, folder) as made,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        patch.setattr(progress, "OBSERVE_SECONDS", 0.2)
        patch.setattr(progress, "LOG_SECONDS", 0.1)
        patch.setattr(progress, "SHARE", 1.0)
        made.live()
        yield made, instance


@pytest.fixture
def stage(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Stage]:
    with staged(embedded_url, migrated_template, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def done(embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A send that went well, but for two people without an address and one whom the mail server refused.

    The last mail is not taken before it was told three times how the send goes.
    """
    told, observe = threading.Semaphore(0), progress.Progress.observe
    waits = iter(range(3))

    def observe_and_count(self: progress.Progress) -> None:
        observe(self)
        told.release()

    def answer(who: str, _time: int) -> str:
        if who == "p24@example.org":
            assert all(told.acquire(timeout=PATIENCE) for _time in waits)
        return f"550 {who} is gone" if who == "p3@example.org" else "250 OK"

    with (
        pytest.MonkeyPatch.context() as patch,
        staged(embedded_url, migrated_template, tmp_path_factory.mktemp("sent")) as stage,
    ):
        patch.setattr(progress.Progress, "observe", observe_and_count)
        made, _instance = stage
        made.people(24)
        made.sql("update crm.person set email = null where person_id in (1, 2)")
        yield run(stage, answer)


def run(stage: Stage, behaviour: Behaviour | None = None) -> Run:
    """Send the step to everybody in the theatre, by Dagster's own job."""
    with MailServer(behaviour) as server:
        return run_to(stage, f"smtp://127.0.0.1:{server.port}")


def run_to(stage: Stage, mail_url: str) -> Run:
    made, instance = stage
    settings = dataclasses.replace(made.deployment.settings, mail_url=mail_url)
    deployment = Deployment(settings, made.deployment.project, made.deployment.library)
    due = by_hand(deployment.project.step(STEP), made.now)
    failure = Ticker(deployment, instance).run([send_key(due.ref)], run_tags(due, made.now))
    return Run(made, due, failure, instance)


def test_a_send_tells_how_it_goes_while_it_runs_and_how_it_went(done: Run) -> None:
    assert done.failure is None
    during = [record for record in done.observations if record.timestamp < done.delivered_at]
    assert len(during) >= 3, "the plots move while the mails leave"
    accepted = [each["accepted"] for each in done.observed]
    assert accepted == sorted(accepted)
    assert len(set(accepted)) >= 2
    assert all(isinstance(each[name], int) for each in done.observed for name in FIGURES)
    assert all(each["planned"] == 24 == sum(each[name] for name in FIGURES[1:]) for each in done.observed)
    assert any(each["mails a second"] > 0 for each in done.observed)
    assert {name: done.observed[-1][name] for name in FIGURES} == {name: done.told[name] for name in FIGURES}
    assert any(re.match(r"\d+ accepted, \d+ a second", line) for line in done.log)

    assert {name: done.told[name] for name in FIGURES} == {
        "planned": 24,
        "accepted": 21,
        "skipped": 2,
        "rejected": 1,
        "unknown": 0,
        "waiting": 0,
    }
    assert done.told["identity"].startswith("24 planned = 21 accepted + 1 rejected + 0 unknown + 2 skipped")
    assert done.told["identity"].endswith("holds")
    assert "has no e-mail address | 2" in done.told["why not"]
    assert is_picture(done.told["why not, drawn"])
    assert isinstance(done.told["throughput"], float)
    assert done.told["throughput"] > 0
    assert is_picture(done.told["throughput, drawn"])
    assert "held" not in done.told


def test_a_send_links_to_its_report(done: Run) -> None:
    event = done.instance.get_latest_materialization_event(send_key(done.due.ref))
    assert event is not None
    assert event.asset_materialization is not None
    ((number,),) = done.theatre.sql("select send_id from smp.send")
    report = event.asset_materialization.metadata["report"]
    assert report == dg.MetadataValue.url(f"{done.theatre.deployment.settings.pages_url}/sends/{number}")


def test_a_send_that_is_held_says_why(stage: Stage) -> None:
    made, _instance = stage
    made.people(30)

    def stop_at_the_third(_recipient: str, _time: int) -> str:
        made.sql("update smp.step_status set status = 'stopped' where step = %s", STEP)
        return "slow"

    done = run(stage, stop_at_the_third)
    assert done.failure is None
    assert done.told["held"].startswith(f"{STEP} is stopped")
    assert done.told["waiting"] > 0
    assert f"{done.told['waiting']:,} waiting: holds" in done.told["identity"]
    assert any(line.startswith(f"held: {STEP} is stopped") for line in done.log)


def test_a_send_whose_mail_server_is_away_still_shows_how_it_stands(stage: Stage) -> None:
    made, _instance = stage
    made.people(3)
    done = run_to(stage, "smtp://127.0.0.1:9")
    assert done.failure is not None
    observed = done.observed[-1]
    assert (observed["planned"], observed["waiting"], observed["accepted"]) == (3, 3, 0)


def test_what_cannot_be_told_does_not_stop_a_send(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _instance = stage
    made.people(6)

    def fail(_context: object, _event: object) -> None:
        raise RuntimeError("Dagster's storage is away")

    monkeypatch.setattr(dg.OpExecutionContext, "log_event", fail)
    done = run(stage, lambda _recipient, _time: "slow")
    assert done.failure is None
    assert done.told["accepted"] == 6
    assert done.observed == []
    assert any("cannot be told now" in line for line in done.log)


def test_nobodys_address_or_name_is_in_what_a_send_tells(done: Run) -> None:
    (entry,) = done.instance.get_runs()
    everything = str([record.event_log_entry for record in done.observations]) + str(done.told)
    everything += "".join(str(each) for each in done.instance.all_logs(entry.run_id))
    assert done.told["rejected"] == 1
    assert "@example.org" not in everything
    assert "Jansen" not in everything


# Throughput


NINE = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def settle(made: Theatre, mails: list[tuple[float, str]]) -> Send:
    """A send that was planned at nine, with mails that were settled so many seconds later."""
    send = made.open_send()
    made.sql(
        "insert into smp.message (send_id, recipient_key, seq, person_id, state, settled_at)"
        " select %s, gen_random_uuid(), n, n, state::smp.message_state, %s + make_interval(secs => seconds)"
        " from unnest(%s::float8[], %s::text[]) with ordinality as m (seconds, state, n)",
        send.send_id,
        NINE,
        [float(seconds) for seconds, _state in mails],
        [state for _seconds, state in mails],
    )
    made.sql("update smp.send set state = 'finished', planned_at = %s where send_id = %s", NINE, send.send_id)
    with made.deployment.connection() as connection:
        return ledger.read_send(connection, send.send_id)


def read(made: Theatre, mails: list[tuple[float, str]]) -> Throughput:
    send = settle(made, mails)
    with made.deployment.connection() as connection:
        return read_throughput(connection, send)


def test_throughput_counts_the_mails_of_the_seconds_in_which_the_send_was_at_work(
    embedded_url: str, migrated_template: str, tmp_path: Path
) -> None:
    with theatre(embedded_url, migrated_template, tmp_path) as made:
        nothing = read(made, [])
        assert nothing == Throughput(None, 1.0, [])

        steady = read(made, [(second, "accepted") for second in range(1, 11) for _mail in range(5)])
        assert steady.per_second == 5.0
        assert steady.seconds == 1
        assert [count for _at, count in steady.course] == [5] * 10

        mixed = read(made, [(1, "accepted"), (1, "rejected"), (4, "accepted"), (4, "unknown")])
        assert mixed.per_second == 0.5
        assert [count for _at, count in mixed.course] == [1, 0, 0, 1], "a second without mails is there, too"

        night = read(made, [(10, "accepted")] * 100 + [(8 * 3600.0, "accepted")] + [(8 * 3600 + 10, "accepted")] * 100)
        assert night.per_second == 10.0, "the night is no work"
        assert len(night.course) <= 120
        assert sum(count for _at, count in night.course) == 201
        assert night.course[0][0] <= NINE + timedelta(seconds=10)
        steps = {later - earlier for (earlier, _), (later, _) in zip(night.course, night.course[1:], strict=False)}
        assert steps == {timedelta(seconds=night.seconds)}

        late = read(made, [(7200, "accepted")])
        assert late.per_second is None, "nobody knows how long it took"
        assert [count for _at, count in late.course] == [1]

        years = read(made, [(1, "accepted"), (9 * 365 * 86400.0, "accepted")])
        assert len(years.course) <= 120


def is_picture(markdown: str) -> bool:
    """Whether this shows a PNG."""
    found = re.fullmatch(r"!\[[^]]*\]\(data:image/png;base64,([^)]*)\)", markdown)
    return found is not None and base64.b64decode(found[1]).startswith(b"\x89PNG")
