"""Tests of internal sends: colleagues get the mail of every record before visitors do, apart from the real send."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import dagster as dg
import pytest

from smp_pipelines.campaign.checks import check_project
from smp_pipelines.campaign.content.checks import check_content
from smp_pipelines.campaign.content.mail import Rendered, content_ref
from smp_pipelines.campaign.project import load_project
from smp_pipelines.deployment import Deployment, check
from smp_pipelines.operations.tick import Ticker
from smp_pipelines.problems import Problem, SmpError
from smp_pipelines.sending.banner import with_banner
from smp_pipelines.sending.card import read_card
from smp_pipelines.sending.decisions import decide
from smp_pipelines.sending.ledger import Claimed, Send
from smp_pipelines.sending.planning import plan
from smp_pipelines.stores.settings import Settings
from tests.support.mailserver import MailServer
from tests.support.theatre import MONDAY_0900, NEWSLETTER, PERFORMANCE, STEP, Theatre, theatre

CHECK = "servicemails/servicemail_check"
COLLEAGUES = (1, 2, 3)
SHOWS = (31, 32)
"""Performances in four days."""


@pytest.fixture
def house(embedded_url: str, migrated_template: str, tmp_path: Path) -> Iterator[Theatre]:
    """A theatre with three colleagues among six visitors, and two performances in four days."""
    with theatre(embedded_url, migrated_template, tmp_path / "state") as opened:
        yield furnish(opened)


def furnish(house: Theatre) -> Theatre:
    house.people(6)
    house.sql("update crm.person set internal_test = true where person_id = any (%s)", list(COLLEAGUES))
    for show in SHOWS:
        add_show(house, show, MONDAY_0900 + timedelta(days=4))
    house.live(CHECK)
    return house


def add_show(house: Theatre, show: int, starts_at: datetime) -> None:
    house.sql(
        "insert into crm.performance (performance_id, title, genre, hall, starts_at, duration_minutes)"
        " values (%s, 'Tosca <' || %s || '>', 'opera', 'Grote zaal', %s, 120)",
        show,
        show,
        starts_at,
    )


def plan_check(house: Theatre, key: str = f"{CHECK}@1") -> Send:
    """A planned internal send, from both selections as they are now."""
    ref = house.deployment.project.step(CHECK)
    send = house.deployment.open_send(ref, key, house.now, house.now, None)
    return house.deployment.plan(ref, send, house.now, None)


def rows(house: Theatre, send: Send, state: str = "planned") -> set[tuple[int, int]]:
    statement = "select person_id, record_id from smp.message where send_id = %s and state = %s::smp.message_state"
    return {(person, record) for person, record in house.sql(statement, send.send_id, state)}


EVERYTHING = {(person, show) for person in COLLEAGUES for show in SHOWS}


def test_every_colleague_gets_every_record(house: Theatre) -> None:
    send = plan_check(house)
    assert (send.purpose, send.state, send.planned) == ("internal", "open", 6)
    assert rows(house, send) == EVERYTHING
    names = house.sql(
        "select p.selection, r.selection from smp.send as s join smp.selection_run as p using (selection_run_id)"
        " join smp.selection_run as r on r.selection_run_id = s.records_run_id where s.send_id = %s",
        send.send_id,
    )
    assert names == [("colleagues", "performances_in_four_days")]
    assert house.verdict(send).holds


def test_a_day_without_records_makes_an_empty_send(house: Theatre) -> None:
    house.sql("delete from crm.performance where performance_id = any (%s)", list(SHOWS))
    assert plan_check(house).planned == 0


def test_colleagues_who_share_an_address_get_every_mail_unless_the_step_says_otherwise(
    house: Theatre, project_folder: Path
) -> None:
    house.sql("update crm.person set email = 'kassa@example.org' where person_id = any (%s)", list(COLLEAGUES))
    assert rows(house, plan_check(house)) == EVERYTHING
    edit(project_folder, "    internal:\n", "    deduplicate: true\n    internal:\n")
    again = replace(house, deployment=changed(house, project_folder))
    assert len(rows(again, plan_check(again, f"{CHECK}@2"))) == 1


def test_what_a_colleague_allows_as_a_visitor_does_not_count_but_the_address_does(house: Theatre) -> None:
    house.people(2, first=21)
    house.sql("update crm.person set internal_test = true where person_id in (21, 22)")
    house.sql("insert into crm.consent values (1, 'email', 'service', false, now(), 'web')")
    house.sql("update crm.person set email = null where person_id = 2")
    house.sql("insert into crm.suppression values ('p3@example.org', 'hard_bounce', now())")
    house.sql("update crm.person set blocked = true where person_id = 21")
    house.sql("update crm.person set email = 'geen adres' where person_id = 22")
    send = plan_check(house)
    reasons = {1: None, 2: "no_address", 3: "suppressed", 21: "person_blocked", 22: "broken_address"}
    assert house.reasons(send) == reasons
    assert {message.person_id for message in claim_check(house, send)} == {1}


def claim_check(house: Theatre, send: Send, now: datetime | None = None) -> list[Claimed]:
    return replace(house, step=CHECK).claim(send, now).messages


def test_a_blocked_record_is_still_shown_and_one_that_is_gone_is_not(house: Theatre) -> None:
    house.sql("update crm.performance set block_service_mail = true where performance_id = 31")
    send = plan_check(house)
    assert rows(house, send) == EVERYTHING
    house.sql("delete from crm.performance where performance_id = 32")
    assert {message.record_id for message in claim_check(house, send)} == {31}
    gone = house.sql("select distinct record_id from smp.message where reason = 'record_gone'")
    assert gone == [(32,)]


def test_the_status_that_counts_is_the_internal_steps_own(house: Theatre) -> None:
    send = plan_check(house)
    house.status("stopped", CHECK)
    house.live(STEP)
    assert claim_check(house, send) == []
    house.live(CHECK)
    house.status("stopped", STEP)
    assert claim_check(house, send, datetime(2026, 11, 23, 23, 30, tzinfo=UTC)) == [], "it is night (F22)"
    assert len(claim_check(house, send)) == 6


def test_the_real_send_still_mails_everybody_after_the_check(house: Theatre) -> None:
    in_four_days = MONDAY_0900 + timedelta(days=4)
    house.sql("update crm.performance set starts_at = %s where performance_id = %s", in_four_days, PERFORMANCE)
    send = plan_check(house)
    with MailServer() as server:
        done = house.deliver(send, server.port)
    assert done.accepted == 9
    assert house.states(send) == {"accepted": 9}

    house.deployment.mirror_moments()
    with house.deployment.lake.open() as lake:
        assert lake.execute("select count(*) from smp.contact_moment").fetchone() == (0,)
        assert lake.execute("select count(*) from smp.message where purpose = 'internal'").fetchone() == (9,)
    with house.deployment.connection() as connection:
        assert read_card(connection, 1).moments == []

    two_days_later = replace(house, now=MONDAY_0900 + timedelta(days=2))
    two_days_later.live()
    real = two_days_later.plan()
    assert rows(house, real) == {(person, PERFORMANCE) for person in range(1, 7)}


def block(house: Theatre) -> None:
    """What a colleague does with the link in the mail."""
    with house.deployment.connection() as connection:
        decide(connection, house.deployment.project, STEP, PERFORMANCE, "blocked", 1, house.now)


def test_a_record_that_a_colleague_blocks_after_planning_is_stopped_at_the_claim(house: Theatre) -> None:
    plan_check(house)
    house.live()
    real = house.plan()
    assert len(rows(house, real)) == 6
    block(house)
    assert house.claim(real).messages == []
    assert set(house.reasons(real).values()) == {"record_blocked"}
    assert house.verdict(real).holds


def test_a_record_that_a_colleague_blocks_before_planning_is_stopped_there(house: Theatre) -> None:
    plan_check(house)
    house.live()
    selected = house.materialise()
    block(house)
    house.mirror()
    ref, send = house.deployment.project.step(STEP), house.open_send()
    with house.deployment.connection() as connection, house.deployment.lake.open() as lake:
        plan(connection, lake, house.deployment.project, ref, send, selected, house.now)
    assert list(house.reasons(send).values()) == ["record_blocked"] * 6
    assert house.plan().planned == 0, "the selection leaves it out too"


def test_a_tick_is_one_send_and_the_next_day_another(embedded_url: str, migrated_template: str, tmp_path: Path) -> None:
    with MailServer() as server:
        options = {"mail_url": f"smtp://127.0.0.1:{server.port}"}
        with theatre(embedded_url, migrated_template, tmp_path / "state", **options) as opened:
            house = furnish(opened)
            add_show(house, 41, MONDAY_0900 + timedelta(days=5))
            monday = MONDAY_0900 - timedelta(hours=1)
            with dg.DagsterInstance.ephemeral() as instance:
                ticker = Ticker(house.deployment, instance)
                (first,), _ = ticker.tick(monday, monday)
                again, _ = ticker.tick(monday, monday)
                (second,), _ = ticker.tick(monday + timedelta(days=1), monday + timedelta(days=1))
            assert first.failure is None
            assert again == []
            assert first.send is not None
            assert second.send is not None
            assert [first.send.send_key, second.send.send_key] == [
                f"{CHECK}@2026-11-23T08:00+01:00",
                f"{CHECK}@2026-11-24T08:00+01:00",
            ]
            assert {first.send.purpose, second.send.purpose} == {"internal"}
            assert rows(house, first.send, "accepted") == EVERYTHING
            assert rows(house, second.send, "accepted") == {(person, 41) for person in COLLEAGUES}
            assert len(server.whole) == 9


def test_the_mail_is_that_of_the_other_step_with_both_links_on_top(house: Theatre) -> None:
    send = plan_check(house)
    with MailServer() as server:
        house.deliver(send, server.port)
        mails = [email.message_from_bytes(raw, policy=email.policy.default) for _recipient, raw in server.whole]
    assert len(mails) == 6
    for mail in mails:
        assert isinstance(mail, EmailMessage)
        assert str(mail["from"]) == "Schouwburg De Linde <service@schouwburg.example>"
        assert str(mail["subject"]).startswith("[CONTROLE] Tot vrijdag! Alles over uw bezoek aan Tosca <3")
        html, text = (mail.get_body((kind,)).get_content() for kind in ("html", "plain"))  # type: ignore[union-attr]
        assert html.index("Ter controle: Tosca &lt;3") < html.index("Nog twee nachten slapen")
        assert text.startswith("Ter controle: Tosca <3")
        site = house.deployment.settings.site_url
        assert html.count(f'href="{site}/r/') == 2
        assert text.count(f"{site}/r/") == 2
        assert "Goedkeuren" in html
        assert "Blokkeren" in html


MAIL = Rendered("Uw bezoek", '<html><BODY class="a">\n<p>Hallo</p></body></html>', "Hallo\n")


def test_the_banner_shows_a_title_and_does_not_obey_it() -> None:
    url = "https://smp.example/r/x?a=1&b=2"
    shown = with_banner(MAIL, url, "https://smp.example/r/y", True, "nl", step="Vooraf", title="<script>\nalert(1)")
    assert shown.subject == MAIL.subject
    assert "<script>" not in shown.html
    assert "Ter controle: &lt;script&gt; alert(1)" in shown.html
    assert shown.html.startswith('<html><BODY class="a"><div role="region"')
    assert 'href="https://smp.example/r/x?a=1&amp;b=2"' in shown.html
    assert url in shown.text
    assert shown.text.index("Ter controle: <script> alert(1)") < shown.text.index("Hallo")


def test_without_a_column_to_block_with_there_is_no_block_link() -> None:
    urls = ("https://smp.example/approve", "https://smp.example/block")
    shown = with_banner(MAIL, *urls, False, "nl_BE", step="Vooraf", title="Hamlet")
    assert urls[0] in shown.html
    assert urls[0] in shown.text
    assert urls[1] not in shown.html + shown.text
    assert "Blokkeer" not in shown.html + shown.text


@pytest.mark.parametrize(
    ("language", "words"), [("en", "For checking"), ("de", "For checking"), ("nl", "Ter controle")]
)
def test_the_banner_speaks_the_projects_language(language: str, words: str) -> None:
    mail = Rendered("S", "<p>no body</p>", "no body\n")
    shown = with_banner(mail, "https://a.example", "https://b.example", True, language, step="S", title="Hamlet")
    assert f"{words}: Hamlet" in shown.html
    assert shown.text.startswith(f"{words}: Hamlet\n")
    assert shown.html.endswith("<p>no body</p>")


def edit(project: Path, old: str, new: str) -> Path:
    """Change the internal step in the sample campaign's file."""
    file = project / "campaigns" / "servicemails" / "campaign.yaml"
    before, mark, step = file.read_text().partition("  servicemail_check:\n")
    assert step.count(old) == 1, old
    file.write_text(before + mark + step.replace(old, new))
    return file


def changed(house: Theatre, project: Path) -> Deployment:
    return Deployment.load(replace(house.deployment.settings, project=project))


def problems(project: Path) -> list[Problem]:
    return [
        problem
        for problem in check(Settings(project=project, home=project))
        if CHECK in problem.message or "sql" in str(problem.file)
    ]


def test_the_internal_step_has_what_it_leaves_out_from_the_other_and_keeps_what_it_says(project_folder: Path) -> None:
    edit(project_folder, "    internal:\n", '    subject: "Check {{ performance.title }}"\n    internal:\n')
    project = load_project(project_folder)
    real, internal = project.step(STEP), project.step(CHECK)
    assert (internal.step.sender, internal.step.record) == (real.step.sender, "performance")
    assert internal.step.deduplicate is False
    sent = content_ref(internal, project)
    assert (sent.key, sent.step.content, sent.step.block) == (STEP, "servicemail.mjml", "block_service_mail")
    assert sent.step.subject == internal.step.subject == "Check {{ performance.title }}"
    assert sent.step.preheader == real.step.preheader
    assert content_ref(real, project) == real
    assert check_project(project) == check_content(internal, project) == []


def test_a_mistake_in_a_subject_of_its_own_is_told_on_its_line(project_folder: Path) -> None:
    file = edit(project_folder, "    internal:\n", '    subject: "Check {{ performance.titel }}"\n    internal:\n')
    project = load_project(project_folder)
    (problem,) = check_content(project.step(CHECK), project)
    assert problem.file == file
    assert file.read_text().splitlines()[(problem.line or 0) - 1].strip().startswith("subject:")


CONTENT = "content: servicemail\n"


@pytest.mark.parametrize(
    ("old", "new", "words", "remedy", "at"),
    [
        (CONTENT, "content: servicemial\n", "no step servicemial", "did you mean servicemail?", "content:"),
        (CONTENT, "content: servicemail_check\n", "is an internal step itself", "name the step", "content:"),
        (CONTENT, f"content: {NEWSLETTER}\n", "has no linked record", "add `record: …` to", "content:"),
        ("records: perf", "records: pref", "no selection preformances_in_four_days", "did you mean perf", "records:"),
        ("    topic", "    content: own.mjml\n    topic", "`content` comes from", "leave `content` out", "content:"),
        ("    topic", "    block: other\n    topic", "`block` comes from", "leave `block` out", "block:"),
        ('["08:00"]', '["08:00", "14:00"]', "2 times a day", "keep one time", "times:"),
        ("    selection: colleagues\n", "", "the selection is missing", "add `selection: …`", "servicemail_check:"),
    ],
)
def test_a_mistake_in_an_internal_step_is_told_with_its_line_and_what_to_do(
    project_folder: Path, old: str, new: str, words: str, remedy: str, at: str
) -> None:
    file = edit(project_folder, old, new)
    (problem,) = (each for each in problems(project_folder) if words in each.message)
    assert problem.file == file
    assert file.read_text().splitlines()[(problem.line or 0) - 1].strip().startswith(at)
    assert remedy in str(problem.remedy)


def test_an_internal_step_follows_no_other_step(project_folder: Path) -> None:
    edit(project_folder, "    send: continuous\n", "    send: trigger\n")
    schedule = '    schedule:\n      start: 2026-01-01\n      frequency: daily\n      times: ["08:00"]\n'
    edit(project_folder, schedule, "")
    messages = [problem.message for problem in problems(project_folder) if not problem.warning]
    assert messages == [f"step {CHECK}: an internal step is sent by a schedule or by hand, not after another step"]


def test_the_selection_of_records_gives_the_records_key_and_the_colleagues_do_not(project_folder: Path) -> None:
    file = project_folder / "sql" / "selections" / "performances_in_four_days.sql"
    file.write_text("-- Titles.\nselect title from crm.performance")
    (problem,) = problems(project_folder)
    assert (problem.file, problem.message) == (file, "the selection does not give performance_id")
    assert problem.remedy is not None
    assert "performance_id" in problem.remedy


def test_an_internal_step_cannot_go_live_while_the_mail_that_it_shows_is_broken(
    house: Theatre, project_folder: Path
) -> None:
    campaigns = project_folder / "campaigns"
    servicemails = campaigns / "servicemails" / "campaign.yaml"
    before, mark, step = servicemails.read_text().partition("  servicemail_check:\n")
    servicemails.write_text(before)
    december = campaigns / "newsletter" / "campaign.yaml"
    december.write_text(december.read_text() + "\n" + mark + step.replace("content: s", "content: servicemails/s"))
    house.deployment = changed(house, project_folder)
    assert house.deployment.change_status("newsletter/servicemail_check", "live", MONDAY_0900, "anna")
    assert house.deployment.change_status("newsletter/servicemail_check", "stopped", MONDAY_0900, "anna")
    (campaigns / "servicemails" / "servicemail.mjml").unlink()
    with pytest.raises(SmpError, match=r"there is no file servicemail\.mjml"):
        changed(house, project_folder).change_status("newsletter/servicemail_check", "live", MONDAY_0900, "anna")
