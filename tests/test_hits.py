"""Hits over real HTTP: what a click, a picture and a mail in a browser note, and that they change nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from starlette.requests import Request

from smp_pipelines.sending.links import LinkSigner
from smp_pipelines.sending.personal import MailLink, click_target, mail_path
from smp_pipelines.site.source import Source
from smp_pipelines.site.visitors.hits import hit_of, network_of
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import Settings
from smp_pipelines.tracking.hits import Hit, HitRecorder
from tests.conftest import REPOSITORY, fresh_database
from tests.site_pages import NOW, PEOPLE, Ask, serving
from tests.support.waiting import until

STEP = "servicemails/servicemail"
HOST = "links.theatre.example"
SIGNER = LinkSigner(["a secret of the tests that is long enough"])
ANNA, HAMLET = 3, 2
KEY = UUID("0123456789abcdef0123456789abcdef")
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(name="settings", scope="module")
def site_settings(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """The sample project, with a send of which Anna got the mail with KEY, about Hamlet."""
    with fresh_database(embedded_url, migrated_template) as url:
        with psycopg.connect(url) as connection:
            connection.execute(PEOPLE)
            connection.execute(
                "insert into smp.send (send_key, step, purpose, moment, state, planned, opened_at)"
                " values ('k', %s, 'live', %s, 'finished', 1, %s)",
                (STEP, NOW, NOW),
            )
            connection.execute(
                "insert into smp.message (send_id, recipient_key, seq, person_id, record_id, state, settled_at)"
                " values (1, %s, 1, %s, %s, 'accepted', %s), (1, %s, 2, 77, 2, 'accepted', %s)",
                (KEY, ANNA, HAMLET, NOW, UUID(int=77), NOW),
            )
        yield Settings(
            REPOSITORY,
            tmp_path_factory.mktemp("state"),
            postgres_url=url,
            public_url=f"https://{HOST}",
            link_secret="a secret of the tests that is long enough",
        )


@pytest.fixture(name="ask", scope="module")
def asking(settings: Settings) -> Iterator[Ask]:
    with serving(settings, HOST) as ask:
        yield ask


@pytest.fixture(autouse=True)
def _no_hits_yet(settings: Settings) -> None:
    sql(settings, "truncate smp.hit")


def sql(settings: Settings, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(str(settings.postgres_url), autocommit=True) as connection:
        done = connection.execute(statement, values)
        return done.fetchall() if done.description else []


def hits(settings: Settings, count: int, columns: str = "kind, step, person_id, record_id, send_id") -> list[Any]:
    """The hits, once so many were written."""
    until(lambda: sql(settings, "select count(*) from smp.hit") == [(count,)], f"{count} hits", 30)
    return sql(settings, f"select {columns} from smp.hit order by hit_id")


def click(url: str, label: str = "", key: UUID = KEY) -> str:
    return f"{mail_path(SIGNER, 'click', MailLink(1, key))}/{click_target(SIGNER, 1, url, label)}"


def path(purpose: str, key: UUID = KEY) -> str:
    return mail_path(SIGNER, purpose, MailLink(1, key))


def everything_else(settings: Settings) -> list[object]:
    """A digest of every table but smp.hit."""
    tables = sql(
        settings,
        "select format('%%I.%%I', schemaname, tablename) from pg_tables"
        " where schemaname in ('crm', 'smp') and tablename <> 'hit' order by 1",
    )
    return [
        sql(settings, f"select md5(string_agg(t::text, '|' order by t::text)) from {name} as t") for (name,) in tables
    ]


# ---------------------------------------------------------------- clicks


def test_a_click_is_noted_with_whose_mail_it_was_and_leads_on(settings: Settings, ask: Ask) -> None:
    status, headers, _ = ask(click("https://www.theatre.example/agenda?a=1&b=2", "the template"), User_Agent=BROWSER)
    assert status == 302
    assert headers["location"] == "https://www.theatre.example/agenda?a=1&b=2"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in headers
    assert hits(settings, 1) == [("click", STEP, ANNA, HAMLET, 1)]
    assert hits(settings, 1, "link, method, prefetch, user_agent, network::text, recipient_key") == [
        ("the template", "GET", False, BROWSER, "127.0.0.0/24", KEY)
    ]


def test_a_click_on_a_page_of_the_site_leads_to_the_site_itself(settings: Settings, ask: Ask) -> None:
    assert ask(click("/s/welcome/signup"))[1]["location"] == f"https://{HOST}/s/welcome/signup"
    hits(settings, 1)


def test_whatever_opens_links_changes_nothing_but_that_it_was_there(settings: Settings, ask: Ask) -> None:
    before = everything_else(settings)
    for method in ("GET", "HEAD"):
        for each in (click("https://a.example/"), path("open") + ".gif", path("view")):
            assert ask(each, method=method)[0] in (200, 302)
    assert [found for (found,) in hits(settings, 6, "method || ' ' || kind")] == [
        *("GET click", "GET open", "GET view", "HEAD click", "HEAD open", "HEAD view")
    ]
    assert everything_else(settings) == before


@pytest.mark.parametrize(
    "url",
    [
        *(
            "javascript:alert(1)",
            "data:text/html,<script>",
            "//elsewhere.example",
            "/\\elsewhere.example",
            "ftp://a.example",
        ),
        *(
            "https://a.example/\r\nSet-Cookie: x=1",
            "https://a.example/\nX: y",
            "https://",
            "http://[",
            "https://a b.example",
        ),
    ],
)
def test_even_a_signed_link_leads_nowhere_but_to_the_web_and_into_no_header(
    settings: Settings, ask: Ask, url: str
) -> None:
    status, headers, body = ask(click(url))
    assert (status, "location" in headers, "set-cookie" in headers) == (400, False, False)
    assert "Deze link werkt niet" in body
    assert "elsewhere" not in body
    assert sql(settings, "select 1 from smp.hit") == []


def test_a_click_link_that_was_changed_shows_a_friendly_page_and_no_data(settings: Settings, ask: Ask) -> None:
    good = click("https://a.example/")
    foreign = LinkSigner(["a secret of somebody else that is long"])
    forged = f"{mail_path(foreign, 'click', MailLink(1, KEY))}/{click_target(foreign, 1, 'https://evil.example/')}"
    mixed = f"{path('click')}/{click_target(foreign, 1, 'https://evil.example/')}"
    for bad in (good[:-3], good.replace("/c/", "/c/x"), forged, mixed, f"{path('click')}/https://evil.example"):
        status, headers, body = ask(bad)
        assert status in (400, 404), bad
        assert "location" not in headers
        assert "Anna" not in body
        assert "evil" not in body
    assert sql(settings, "select 1 from smp.hit") == []


# ---------------------------------------------------------------- opens


def test_the_picture_is_there_whatever_the_address_and_only_a_good_one_is_an_open(settings: Settings, ask: Ask) -> None:
    good = path("open") + ".gif"
    for each in (good, "/o/x.gif", good.replace("/o/", "/o/A"), path("click").replace("/c/", "/o/") + ".gif"):
        status, headers, _ = ask(each, User_Agent=BROWSER)
        assert (status, headers["content-type"], headers["cache-control"]) == (200, "image/gif", "no-store")
    assert hits(settings, 1) == [("open", STEP, ANNA, HAMLET, 1)]


@pytest.mark.parametrize(
    "header",
    [{"Sec_Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}, {"X_Moz": "prefetch"}, {"X_Purpose": "preview"}],
)
def test_a_request_that_says_nobody_asked_for_it_is_noted_so(
    settings: Settings, ask: Ask, header: dict[str, str]
) -> None:
    ask(path("open") + ".gif", **header)
    assert hits(settings, 1, "prefetch") == [(True,)]


# ---------------------------------------------------------------- the mail in a browser


def test_a_mail_is_shown_again_for_its_reader_with_links_that_work_and_nothing_that_acts(
    settings: Settings, ask: Ask
) -> None:
    status, headers, body = ask(path("view"), User_Agent=BROWSER)
    assert status == 200
    assert "Beste Anna" in body
    assert "Hamlet &amp; co" in body
    assert f"https://{HOST}/c/" in body
    assert f"https://{HOST}/o/" not in body
    assert headers["x-robots-tag"] == "noindex, nofollow"
    policy = headers["content-security-policy"]
    assert "script-src 'none'" in policy
    assert "sandbox" in policy
    assert "allow-scripts" not in policy
    assert hits(settings, 1) == [("view", STEP, ANNA, HAMLET, 1)]


def test_the_links_of_a_shown_mail_lead_on(settings: Settings, ask: Ask) -> None:
    body = ask(path("view"))[2]
    address = body.partition(f'href="https://{HOST}/c/')[2].partition('"')[0]
    status, headers, _ = ask(f"/c/{address}")
    assert status == 302
    assert headers["location"].startswith("https://")
    hits(settings, 2)


@pytest.mark.parametrize("key", [UUID(int=77), UUID(int=78)])
def test_a_mail_of_somebody_who_is_gone_is_a_friendly_page(settings: Settings, ask: Ask, key: UUID) -> None:
    status, _, body = ask(path("view", key))
    assert status == 404
    assert "Niet meer te vinden" in body
    assert sql(settings, "select 1 from smp.hit") == []


# ---------------------------------------------------------------- what is noted


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("fe80::1%eth0", "fe80::/48"),
        ("testclient", None),
        ("", None),
    ],
)
def test_only_the_network_of_an_address_is_kept(address: str, network: str | None) -> None:
    assert network_of(address) == network


def test_what_a_program_calls_itself_is_cut_and_cleaned() -> None:
    agent = b"A\x00b\r\nc\xc2\x85\xff " + b"x" * 500
    scope = {"type": "http", "method": "BREW", "headers": [(b"user-agent", agent)], "client": None}
    hit = hit_of(Request(scope), StartedAt(NOW), "page", step="a/b", person_id=1)
    assert hit.user_agent is not None
    assert hit.user_agent.startswith("A b c")
    assert hit.user_agent.isprintable()
    assert len(hit.user_agent) <= 300
    assert (hit.method, hit.network) == ("other", None)


def a_hit(**changed: object) -> Hit:
    usual: dict[str, Any] = dict.fromkeys(Hit.__slots__) | {
        "kind": "page", "happened_at": NOW, "step": "a/b", "method": "GET", "prefetch": False
    }  # fmt: skip
    return Hit(**(usual | changed))


def test_one_hit_that_cannot_be_written_keeps_no_other_from_being_written(settings: Settings) -> None:
    recorder = HitRecorder(Source(settings).writing)
    for each in (a_hit(), a_hit(user_agent="\0"), a_hit(network="nonsense"), a_hit(step="c/d"), a_hit(step=None)):
        recorder.note(each)
    recorder.flush()
    assert sql(settings, "select step from smp.hit order by hit_id") == [("a/b",), ("c/d",)]
    recorder.close()
    recorder.note(a_hit())  # late: it is not written, and nobody is bothered
    recorder.flush()
    assert len(hits(settings, 2)) == 2


def test_hits_wait_for_a_database_that_is_away_for_a_moment(settings: Settings) -> None:
    recorder = HitRecorder(Source(settings).writing, patience=(0.01,) * 500)
    recorder.note(a_hit())
    recorder.flush()
    sql(
        settings,
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()",
    )
    recorder.note(a_hit(recipient_key=uuid4()))
    recorder.flush()
    assert len(hits(settings, 2)) == 2
    recorder.close()


def test_hits_are_given_up_when_the_database_stays_away_and_nobody_waits(tmp_path: Path) -> None:
    recorder = HitRecorder(
        Source(Settings(REPOSITORY, tmp_path, postgres_url="postgresql://x@127.0.0.1:1/x")).writing, (0.01,)
    )
    recorder.note(a_hit())
    recorder.flush()
    recorder.close()
