"""The pages behind the links in mails, over real HTTP: a GET changes nothing, a POST does, strangers get nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from smp_pipelines.sending import ledger
from smp_pipelines.sending.links import LinkSigner, MailLinks
from smp_pipelines.site.server import open_port
from smp_pipelines.stores.settings import Settings
from tests.site_pages import NOW, PEOPLE, Answer, Ask, edit, serving

STEP = "servicemails/servicemail"
HOST = "links.theatre.example"
SECRET = "a secret of the tests, long enough"
ANNA, WIM, HAMLET = 3, 7, 2
KEY = UUID("0123456789abcdef0123456789abcdef")
ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(name="settings")
def site_settings(postgres_url: str, project_folder: Path, tmp_path: Path) -> Settings:
    with psycopg.connect(postgres_url) as connection:
        connection.execute(PEOPLE)
    return Settings(
        project_folder,
        tmp_path / "state",
        postgres_url=postgres_url,
        public_url=f"https://{HOST}",
        link_secret=SECRET,
    )


@pytest.fixture(name="ask")
def asking(settings: Settings) -> Iterator[Ask]:
    with serving(settings, HOST) as ask:
        yield ask


def sql(settings: Settings, statement: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(str(settings.postgres_url), autocommit=True) as connection:
        done = connection.execute(statement, values)
        return done.fetchall() if done.description else []


@pytest.fixture(name="links")
def mail_links(settings: Settings) -> MailLinks:
    """The links of a send in which Anna got the mail with KEY."""
    with psycopg.connect(str(settings.postgres_url), autocommit=True) as connection:
        send = ledger.open_send(connection, "k", STEP, NOW, NOW, None)
    mailed(settings, KEY, ANNA)
    return MailLinks(settings.site_url, LinkSigner(settings.link_secrets), STEP, send)


def mailed(settings: Settings, key: UUID, person_id: int) -> None:
    sql(
        settings,
        "insert into smp.message (send_id, recipient_key, seq, person_id, state)"
        " select send_id, %s, %s, %s, 'accepted' from smp.send",
        key,
        person_id,
        person_id,
    )


def consents(settings: Settings) -> list[tuple[object, ...]]:
    return sql(settings, "select person_id, channel, topic, granted, source from crm.consent order by 1, 2, 3")


def everything(settings: Settings) -> list[tuple[object, ...]]:
    tables = ("crm.consent", "crm.performance", "smp.record_decision", "smp.message")
    return [sql(settings, f"select md5(string_agg(t::text, '|' order by t::text)) from {name} t")[0] for name in tables]


def one_click(ask: Ask, path: str, body: bytes = ONE_CLICK, **headers: str) -> Answer:
    """Post as a mail program does: no cookies, no referrer, a form."""
    return ask(path, body, **({"Content_Type": FORM} | headers))


# ---------------------------------------------------------------- unsubscribing


def test_opening_an_unsubscribe_link_asks_and_changes_nothing(settings: Settings, ask: Ask, links: MailLinks) -> None:
    before = everything(settings)
    for method in ("GET", "HEAD", "GET"):
        status, _, body = ask(links.unsubscribe(KEY), method=method)
        assert status == 200
    assert everything(settings) == before
    assert '<html lang="nl">' in body
    assert "U krijgt dan geen e-mail meer van Schouwburg De Linde over:" in body
    assert "praktische berichten rond uw bezoek" in body
    assert '<form method="post">' in body
    assert "<script" not in body
    assert "anna" not in body.lower()


def test_one_click_of_a_mail_program_unsubscribes_without_a_redirect(
    settings: Settings, ask: Ask, links: MailLinks
) -> None:
    status, headers, _ = one_click(ask, links.unsubscribe(KEY))
    assert status == 200
    assert "set-cookie" not in {name.lower() for name in headers}
    assert consents(settings) == [(ANNA, "email", "service", False, "one_click")]
    recent = "changed_at between %s and %s::timestamptz + interval '1 minute'"
    (found,) = sql(settings, f"select wording, {recent} from crm.consent", NOW, NOW)
    words = "Afgemeld met de link in een mail: geen e-mail meer over praktische berichten rond uw bezoek"
    assert found == (words, True)


def test_one_click_may_come_as_the_other_kind_of_form(settings: Settings, ask: Ask, links: MailLinks) -> None:
    body = b'--xx\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--xx--\r\n'
    status, _, _ = one_click(ask, links.unsubscribe(KEY), body, Content_Type="multipart/form-data; boundary=xx")
    assert status == 200
    assert consents(settings) == [(ANNA, "email", "service", False, "one_click")]


def test_the_button_of_the_page_unsubscribes_and_again_is_fine(settings: Settings, ask: Ask, links: MailLinks) -> None:
    sql(settings, "insert into crm.consent values (%s, 'email', 'service', true, %s, 'kassa', 'ja')", ANNA, NOW)
    for _ in range(2):
        status, _, body = one_click(ask, links.unsubscribe(KEY), b"confirm=yes")
        assert status == 200
        assert "U bent afgemeld" in body
        assert "kassa@schouwburg.example" in body
    assert consents(settings) == [(ANNA, "email", "service", False, "unsubscribe_page")]
    assert "U bent afgemeld" in ask(links.unsubscribe(KEY))[2]


def test_a_no_that_was_there_keeps_its_moment_and_source(settings: Settings, ask: Ask, links: MailLinks) -> None:
    sql(settings, "insert into crm.consent values (%s, 'email', 'service', false, %s, 'brief', 'nee')", ANNA, NOW)
    assert one_click(ask, links.unsubscribe(KEY))[0] == 200
    assert consents(settings) == [(ANNA, "email", "service", False, "brief")]


@pytest.mark.parametrize("body", [b"", b"List-Unsubscribe=Two", b"\xff\xfe", b"&" * 100])
def test_a_post_that_says_neither_changes_nothing(settings: Settings, ask: Ask, links: MailLinks, body: bytes) -> None:
    status, _, page = one_click(ask, links.unsubscribe(KEY), body)
    assert status == 400
    assert "Dat is niet gelukt" in page
    assert consents(settings) == []


def test_a_body_that_is_too_long_is_refused(settings: Settings, ask: Ask, links: MailLinks) -> None:
    status, _, _ = one_click(ask, links.unsubscribe(KEY), ONE_CLICK + b"&x=" + b"y" * 5000)
    assert status == 413
    assert consents(settings) == []


def test_who_shares_a_mailbox_is_unsubscribed_with_it_and_only_there(
    settings: Settings, ask: Ask, links: MailLinks
) -> None:
    sql(settings, "update crm.person set email = ' ANNA@x.example' where person_id = %s", WIM)
    assert one_click(ask, links.unsubscribe(KEY))[0] == 200
    assert [row[0] for row in consents(settings)] == [ANNA]
    (key,) = sql(settings, "select md5('address:anna@x.example')::uuid")[0]
    assert isinstance(key, UUID)
    mailed(settings, key, ANNA)
    assert one_click(ask, links.unsubscribe(key))[0] == 200
    assert [row[0] for row in consents(settings)] == [ANNA, WIM]


def test_a_reader_who_is_no_longer_in_the_crm_still_gets_a_friendly_page(
    settings: Settings, ask: Ask, links: MailLinks
) -> None:
    sql(settings, "delete from crm.person where person_id = %s", ANNA)
    status, _, body = one_click(ask, links.unsubscribe(KEY))
    assert (status, consents(settings)) == (200, [])
    assert "U bent afgemeld" in body


def test_a_mail_that_the_ledger_does_not_have_is_told(ask: Ask, links: MailLinks) -> None:
    status, _, body = ask(links.unsubscribe(uuid4()))
    assert status == 404
    assert "Beantwoord dan een van onze mails" in body


def test_a_mail_of_a_step_that_is_gone_unsubscribes_from_everything(
    settings: Settings, ask: Ask, links: MailLinks
) -> None:
    sql(settings, "update smp.send set step = 'old/one'")
    assert "alle onderwerpen" in ask(links.unsubscribe(KEY))[2]
    assert one_click(ask, links.unsubscribe(KEY))[0] == 200
    assert [row[2] for row in consents(settings)] == ["newsletter", "offers", "service"]


def test_unsubscribing_works_while_somebody_edits_the_campaign_files(
    settings: Settings, ask: Ask, links: MailLinks
) -> None:
    assert ask(links.unsubscribe(KEY))[0] == 200
    edit(settings.project / "campaigns" / "servicemails" / "campaign.yaml", "frequency: daily", "frequency: dialy")
    assert one_click(ask, links.unsubscribe(KEY))[0] == 200
    assert len(consents(settings)) == 1


def test_a_project_in_another_language_has_english_pages(settings: Settings, ask: Ask, links: MailLinks) -> None:
    edit(settings.project / "smp.yaml", "language: nl", "language: en")
    body = ask(links.unsubscribe(KEY))[2]
    assert "You will get no more e-mail from Schouwburg De Linde about:" in body


# ---------------------------------------------------------------- approving and blocking


def test_opening_a_block_link_shows_what_will_happen_and_changes_nothing(
    settings: Settings, ask: Ask, links: MailLinks
) -> None:
    before = everything(settings)
    for link in (links.block(WIM, HAMLET), links.approve(WIM, HAMLET)):
        status, _, body = ask(link)
        assert status == 200
        assert "Hamlet &amp; co" in body
        assert "vrijdag 4 december 2026, 20:15" in body
        assert "Servicemail vooraf" in body
        assert "Niet geblokkeerd" in body
    assert everything(settings) == before


def test_blocking_and_taking_it_back_by_the_link_on_the_page(settings: Settings, ask: Ask, links: MailLinks) -> None:
    status, _, body = one_click(ask, links.block(WIM, HAMLET), b"confirm=yes")
    assert status == 200
    assert "Geblokkeerd door Wim van Test, zaterdag 21 november 2026, 13:00" in body
    ticks = "select performance_id from crm.performance where block_service_mail"
    assert sql(settings, ticks) == [(HAMLET,)]
    back = re.search(r'href="(/r/[^"]+)"', body)
    assert back
    assert "De blokkade wordt opgeheven" in ask(back[1])[2]
    assert sql(settings, ticks) == [(HAMLET,)]
    assert "Goedgekeurd door Wim van Test" in one_click(ask, back[1], b"confirm=yes")[2]
    assert sql(settings, ticks) == []


def test_approving_says_beforehand_that_a_tick_of_the_crm_stays(settings: Settings, ask: Ask, links: MailLinks) -> None:
    sql(settings, "update crm.performance set block_service_mail = true")
    assert "blijft geblokkeerd" in ask(links.approve(WIM, HAMLET))[2]
    assert "Goedgekeurd, maar nog geblokkeerd" in one_click(ask, links.approve(WIM, HAMLET))[2]
    assert sql(settings, "select count(*) from crm.performance where block_service_mail") == [(3,)]


def test_a_step_that_cannot_block_says_so(settings: Settings, ask: Ask, links: MailLinks) -> None:
    file = settings.project / "campaigns" / "servicemails" / "campaign.yaml"
    edit(file, "    block: block_service_mail\n", "")
    body = ask(links.block(WIM, HAMLET))[2]
    assert "Deze stap heeft geen vinkje om te blokkeren" in body
    assert "<form" not in body
    assert one_click(ask, links.block(WIM, HAMLET))[0] == 409
    assert sql(settings, "select count(*) from smp.record_decision") == [(0,)]


def test_a_record_or_person_that_is_gone_is_told(settings: Settings, ask: Ask, links: MailLinks) -> None:
    assert ask(links.block(WIM, 999))[0] == 404
    status, _, body = one_click(ask, links.block(999, HAMLET))
    assert status == 404
    assert "Niet meer te vinden" in body
    assert sql(settings, "select count(*) from crm.performance where block_service_mail") == [(0,)]


# ---------------------------------------------------------------- strangers


@pytest.mark.parametrize("body", [None, ONE_CLICK])
def test_a_bad_link_is_a_friendly_page_and_changes_nothing(
    settings: Settings, ask: Ask, links: MailLinks, body: bytes | None
) -> None:
    before = everything(settings)
    good, block = links.unsubscribe(KEY), links.block(WIM, HAMLET)
    foreign = MailLinks(
        settings.site_url, LinkSigner(["another secret"]), STEP, ledger.Send(1, "", "", "live", NOW, "open", 1)
    )
    swapped = good.replace("/u/", "/r/"), block.replace("/r/", "/u/")
    for path in (good[:-1], good + "0", "/u/x", "/r/%2e%2e", "/u/%F0%9F%98%80", foreign.unsubscribe(KEY), *swapped):
        status, headers, page = ask(path, body, Content_Type=FORM)
        assert status == 400, path
        assert "Deze link werkt niet" in page
        assert "<a " not in page
        assert "default-src 'none'" in headers["content-security-policy"]
    assert everything(settings) == before


def test_public_pages_carry_strict_headers_and_stay_out_of_search_engines(ask: Ask, links: MailLinks) -> None:
    for path in (links.unsubscribe(KEY), links.block(WIM, HAMLET), "/u/x"):
        _, headers, _ = ask(path)
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "noindex" in headers["x-robots-tag"]


def test_other_methods_are_refused(ask: Ask, links: MailLinks) -> None:
    for method in ("PUT", "DELETE", "PATCH"):
        assert ask(links.unsubscribe(KEY), b"", method)[0] == 405


def test_a_database_that_is_away_is_told_so_that_a_mail_program_tries_again(
    settings: Settings, links: MailLinks
) -> None:
    with open_port(0) as closed:
        url = f"postgresql://smp:secret@127.0.0.1:{closed.getsockname()[1]}/smp"
    away = Settings(
        settings.project, settings.home, postgres_url=url, public_url=settings.public_url, link_secret=SECRET
    )
    with serving(away, HOST) as ask:
        status, _, body = one_click(ask, links.unsubscribe(KEY))
    assert status == 503
    assert "Even niet beschikbaar" in body
    assert "secret" not in body


def test_a_fault_of_the_site_itself_is_a_friendly_page_too(settings: Settings, ask: Ask, links: MailLinks) -> None:
    sql(settings, "drop table crm.consent")
    status, headers, body = one_click(ask, links.unsubscribe(KEY))
    assert status == 500
    assert "consent" not in body
    assert "default-src 'none'" in headers["content-security-policy"]
