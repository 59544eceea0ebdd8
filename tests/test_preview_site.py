"""The pages for colleagues, over real HTTP on loopback with a real Postgres."""

from __future__ import annotations

import json
import re
import urllib.parse
from datetime import UTC, datetime

import psycopg
import pytest

from smp_pipelines.campaign.project import load_project
from smp_pipelines.problems import SmpError
from smp_pipelines.sending.status import change_status
from smp_pipelines.site.colleagues.preview import UnknownRecipientError, render_preview
from smp_pipelines.site.source import Source
from smp_pipelines.stores.postgres import connect
from smp_pipelines.stores.settings import Settings
from tests.site_pages import NOW, STEP, Ask, edit, page
from tests.site_pages import asking as _asking  # noqa: F401  (fixtures)
from tests.site_pages import site_settings as _settings  # noqa: F401

# ---------------------------------------------------------------- the overview


def test_the_overview_shows_every_step_with_description_kind_schedule_and_status(settings: Settings, ask: Ask) -> None:
    assert settings.postgres_url
    with connect(settings.postgres_url) as connection:
        change_status(connection, "servicemails/servicemail", "live", datetime(2026, 11, 3, 9, 12, tzinfo=UTC), "Joost")
    body = page(ask, "/")
    for words in (
        "Servicemail vooraf",
        "Twee dagen voor de voorstelling, aan iedereen met een kaartje",
        "Continuous",
        "Every day at 09:00 and 15:00, from 1 January 2026",
        "Nieuwsbrief december",
        "One-off",
        "Once, when somebody starts it",
        "since Tue 3 Nov 2026, 10:12",
    ):
        assert words in body
    assert body.count('<span class="pill live">') == 1
    assert body.count('<span class="pill concept">') == len(load_project(settings.project).steps()) - 1


def test_the_overview_shows_which_step_follows_which(settings: Settings, ask: Ask) -> None:
    file = settings.project / "campaigns" / "servicemails" / "campaign.yaml"
    edit(file, "    topic: service\n", "    topic: service\n    next: feedback\n")
    with file.open("a", encoding="utf-8") as yaml:
        yaml.write("  feedback:\n    name: Hoe was het?\n    send: trigger\n    topic: service\n    next: nowhere\n")
    body = page(ask, "/")
    assert '<span aria-hidden="true">↓</span> then <a href="/steps/servicemails/feedback">Hoe was het?</a>' in body
    assert "After the step before it" in body
    assert "nowhere" not in body


def test_a_project_without_campaigns_says_so(settings: Settings, ask: Ask) -> None:
    for file in settings.project.glob("campaigns/*/campaign.yaml"):
        file.parent.rename(file.parent.with_name(f"_{file.parent.name}"))
    assert "No campaigns yet" in page(ask, "/")


# ---------------------------------------------------------------- the preview


def test_the_default_preview_is_for_a_test_person_about_the_next_performance(ask: Ask) -> None:
    body = page(ask, STEP)
    assert "Wim van Test &lt;wim@linde.example&gt;" in body
    assert "Tot zondag! Alles over uw bezoek aan Morgen" in body
    assert "Schouwburg De Linde &lt;service@schouwburg.example&gt;" in body
    assert f'src="{STEP}/html?person=7&amp;record=5"' in body
    html = page(ask, f"{STEP}/html?person=7&record=5")
    assert "Beste Wim" in html
    assert "Kleine Zaal" in html


def test_a_preview_is_for_the_person_and_record_that_are_asked_for(ask: Ask) -> None:
    body = page(ask, f"{STEP}?person=3&record=2&view=text")
    assert "Alles over uw bezoek aan Hamlet &amp; co" in body
    assert "Beste Anna," in body
    assert "vrijdag 4 december" in body
    assert "<iframe" not in body


def test_what_is_in_the_crm_is_never_markup_on_the_page(ask: Ask) -> None:
    body = page(ask, f"{STEP}?person=9")
    assert "&lt;b&gt;Zwart&lt;/b&gt;" in body
    assert "<b>Zwart" not in body
    assert "no e-mail address" in body


def test_addresses_on_the_page_hold_no_personal_data(ask: Ask) -> None:
    links = re.findall(r'(?:href|src|action)="([^"]*)"', page(ask, f"{STEP}?person=3&record=2"))
    assert len(links) > 8
    own = (
        r"/(flows|sends|people|people/3|sign-out)?|#target|/static/[a-z.]+|/steps/[a-z_/]+(\?[a-z0-9=&;]*)?(#preview)?"
    )
    for link in links:
        assert re.fullmatch(own, link), link


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("person=999", 404, "There is no person 999."),
        ("person=3&record=999", 404, "There is no performance 999."),
        ("person=999999999999999999", 404, "There is no person 999999999999999999."),
        ("person=Anna", 400, "The person is chosen by its id"),
        ("person=9999999999999999999999", 400, "The person is chosen by its id"),
        ("record=-1", 400, "The record is chosen by its id"),
        ("person=٣", 400, "The person is chosen by its id"),
    ],
)
def test_a_person_or_record_that_is_not_there_is_told_in_words(ask: Ask, query: str, status: int, words: str) -> None:
    query = urllib.parse.quote(query, safe="=&")
    assert words in page(ask, f"{STEP}?{query}", status)
    assert words in page(ask, f"{STEP}/html?{query}", status)


def test_a_record_for_a_step_without_one_is_refused(ask: Ask) -> None:
    assert "has no linked record" in page(ask, "/steps/newsletter/december?record=5", 404)


def test_a_step_that_is_not_there_is_told_with_the_nearest_name(ask: Ask) -> None:
    assert "did you mean servicemails/servicemail?" in page(ask, "/steps/servicemails/servicemial", 404)
    assert "Not here" in page(ask, "/nothing/at/all", 404)


def test_an_empty_crm_still_shows_the_step(settings: Settings, ask: Ask) -> None:
    assert settings.postgres_url
    with psycopg.connect(settings.postgres_url) as connection:
        connection.execute("delete from crm.person")
    assert "There are no people in the CRM yet" in page(ask, STEP)


def test_a_mail_that_cannot_be_made_for_a_person_says_why(settings: Settings, ask: Ask) -> None:
    file = settings.project / "campaigns" / "newsletter" / "campaign.yaml"
    edit(file, "content: december.mjml", "content: plain.html")
    (file.parent / "plain.html").write_text("<p>{{ 10 // (person.person_id - 7) }}</p>", encoding="utf-8")
    assert "this mail cannot be made" in page(ask, "/steps/newsletter/december?person=7", 422)
    assert "this mail cannot be made" in page(ask, "/steps/newsletter/december/html?person=7", 422)
    assert "Anna Adema" in page(ask, "/steps/newsletter/december?person=3")


def test_the_default_is_the_latest_record_when_all_have_been_and_the_first_person(
    settings: Settings,
) -> None:
    project = load_project(settings.project)
    ref = project.step("servicemails/servicemail")
    assert settings.postgres_url
    with connect(settings.postgres_url) as connection:
        connection.execute("update crm.person set internal_test = false")
        preview = render_preview(connection, project, ref, now=datetime(2030, 1, 1, tzinfo=UTC))
    assert (preview.person_id, preview.record_id, preview.title) == (3, 2, "Hamlet & co")


def test_the_default_record_of_a_table_without_moments_has_the_smallest_key(settings: Settings) -> None:
    edit(
        settings.project / "smp.yaml",
        "performance: {table: crm.performance, key: performance_id, title: title}",
        "list: {table: crm.list, key: list_id, title: name}",
    )
    file = settings.project / "campaigns" / "newsletter" / "campaign.yaml"
    edit(file, "    topic: newsletter\n", "    topic: newsletter\n    record: list\n")
    edit(file, 'subject: "December', 'subject: "{{ list.name }}: December')
    edit(settings.project / "campaigns" / "servicemails" / "campaign.yaml", "    record: performance\n", "")
    project = load_project(settings.project)
    ref = project.step("newsletter/december")
    assert settings.postgres_url
    with connect(settings.postgres_url) as connection:
        with pytest.raises(SmpError, match="has no rows yet"):
            render_preview(connection, project, ref, now=NOW)
        connection.execute("insert into crm.list (list_id, name) values (8, 'Pers'), (4, 'Vrijwilligers')")
        preview = render_preview(connection, project, ref, now=NOW)
        with pytest.raises(UnknownRecipientError, match="there is no list 5"):
            render_preview(connection, project, ref, 3, 5, now=NOW)
    assert (preview.record_id, preview.title) == (4, "Vrijwilligers")
    assert preview.rendered.subject.startswith("Vrijwilligers: ")


# ---------------------------------------------------------------- what else a step's page shows


def test_a_steps_page_shows_the_last_sends_with_reasons_and_the_status_audit(settings: Settings, ask: Ask) -> None:
    assert settings.postgres_url
    with connect(settings.postgres_url) as connection:
        change_status(connection, "servicemails/servicemail", "live", NOW, "Joost", "akkoord & klaar")
        connection.execute(
            "insert into smp.send (send_key, step, purpose, moment, opened_at, state, planned)"
            " values ('k', 'servicemails/servicemail', 'live', %s, %s, 'finished', 1200)",
            (NOW, NOW),
        )
        connection.execute(
            "insert into smp.message (send_id, recipient_key, seq, person_id, state, reason) select send_id,"
            " gen_random_uuid(), i, i, (case when i > 1100 then 'skipped' else 'accepted' end)::smp.message_state,"
            " case when i > 1100 then 'opted_out' end from smp.send, generate_series(1, 1200) i"
        )
    body = page(ask, STEP)
    assert "Sat 21 Nov 2026, 13:00" in body
    assert "1,100" in body
    assert "<b>100</b> × said no to this topic" in body
    assert "Joost: <q>akkoord &amp; klaar</q>" in body
    assert "Next: Sat 21 Nov 2026, 15:00" in body


def test_a_steps_page_shows_its_selection_as_written_and_as_it_runs(ask: Ask) -> None:
    body = page(ask, STEP)
    assert "{{ not_received(&#34;servicemails/servicemail&#34;" in body
    assert "2026-11-21" in body


def test_a_broken_selection_is_told_on_the_page_and_the_preview_still_works(settings: Settings, ask: Ask) -> None:
    edit(settings.project / "sql" / "selections" / "visitors_in_two_days.sql", "performance_id", "perfromance_id")
    body = page(ask, STEP)
    assert "sql/selections/visitors_in_two_days.sql" in body
    assert "to mend before this step can go live" in body
    assert "Wim van Test" in body


# ---------------------------------------------------------------- files that change


def test_an_edited_template_shows_when_the_page_is_loaded_again(settings: Settings, ask: Ask) -> None:
    assert "Nieuwe kop" not in page(ask, f"{STEP}/html")
    edit(settings.project / "campaigns" / "servicemails" / "servicemail.mjml", "Nog twee nachten slapen", "Nieuwe kop")
    assert "Nieuwe kop" in page(ask, f"{STEP}/html")
    file = settings.project / "campaigns" / "servicemails" / "campaign.yaml"
    edit(file, "name: Servicemail vooraf", "name: Praktische mail")
    assert "Praktische mail" in page(ask, "/")


def test_files_are_not_loaded_again_while_nothing_changes(settings: Settings) -> None:
    source = Source(settings)
    loaded = source.deployment()
    assert source.deployment() is loaded
    (settings.project / "campaigns" / "servicemails" / "campaign.yaml").touch()
    assert source.deployment() is not loaded


def test_a_broken_campaign_file_shows_its_problems_until_it_is_mended(settings: Settings, ask: Ask) -> None:
    file = settings.project / "campaigns" / "servicemails" / "campaign.yaml"
    edit(file, "frequency: daily", "frequency: dialy")
    for path in ("/", STEP, f"{STEP}/html"):
        body = page(ask, path, 500)
        assert re.search(r"campaigns/servicemails/campaign.yaml:\d+<", body)
        assert str(settings.project) not in body
    mistakes = file.read_text(encoding="utf-8").count("dialy")
    assert json.loads(page(ask, "/health")) == {"status": "ok", "problems": mistakes}
    edit(file, "frequency: dialy", "frequency: daily")
    assert "Servicemail vooraf" in page(ask, "/")


def test_a_template_that_cannot_be_used_shows_its_problem_in_place_of_the_preview(settings: Settings, ask: Ask) -> None:
    file = settings.project / "campaigns" / "servicemails" / "servicemail.mjml"
    file.write_text("<mjml><mj-body>", encoding="utf-8")
    body = page(ask, STEP)
    assert "The content of this step cannot be used yet." in body
    assert "campaigns/servicemails/servicemail.mjml" in body
    assert page(ask, f"{STEP}/html?person=3", 500)
