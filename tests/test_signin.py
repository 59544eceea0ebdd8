"""Signing in: links that work once, the same answer for everybody, sessions that end, and nothing worth stealing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from urllib.parse import urlencode

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.transports import Outbox, outbox
from smp_pipelines.site.colleagues import accounts, machine
from smp_pipelines.site.colleagues.accounts import BadSignInError
from smp_pipelines.site.colleagues.signin import own_path
from smp_pipelines.stores.postgres import connect
from smp_pipelines.stores.settings import Settings
from tests.site_pages import NOW, STEP, Answer, Ask, page, serving, session_cookie
from tests.site_pages import site_settings as _settings  # noqa: F401  (fixtures)
from tests.support.waiting import until

HOST = "links.theatre.example"
JOOST = "joost@theatre.example"
FORM = {"Content_Type": "application/x-www-form-urlencoded"}
ELSEWHERE = {"Host": HOST, "X_Forwarded_For": "192.0.2.1"}


@pytest.fixture(name="known")
def known_settings(settings: Settings) -> Settings:
    settings = dataclasses.replace(settings, public_url=f"https://{HOST}", mail_url="memory://sign-in")
    with connect(str(settings.postgres_url)) as connection:
        assert accounts.add(connection, f" {JOOST.upper()} ", "Joost", NOW, "tests")
    return settings


@pytest.fixture(name="box")
def mails() -> Outbox:
    box = outbox("sign-in")
    box.clear()
    return box


@pytest.fixture(name="stranger")
def a_stranger(known: Settings, box: Outbox) -> Iterator[Ask]:
    with serving(known, signed_in=False) as ask:
        yield ask


def post(ask: Ask, path: str, fields: dict[str, str] | None = None, /, **headers: str) -> Answer:
    return ask(path, urlencode(fields or {}).encode(), **(FORM | headers))


def link_for(settings: Settings, made: datetime = NOW, address: str = JOOST) -> str:
    with connect(str(settings.postgres_url)) as connection:
        token = accounts.make_link(connection, address, made)
    assert token
    return f"/sign-in/{token}"


def cookie_in(headers: dict[str, str]) -> str:
    return headers["set-cookie"].partition(";")[0]


# ---------------------------------------------------------------- a link by mail


def test_a_colleague_signs_in_with_the_link_that_is_mailed_and_comes_where_they_wanted_to_be(
    known: Settings, stranger: Ask, box: Outbox
) -> None:
    assert 'name="address"' in page(stranger, f"/sign-in?next={STEP}", **ELSEWHERE)
    asked = {"address": "Joost@Theatre.example", "next": STEP}
    assert post(stranger, "/sign-in", asked, **ELSEWHERE)[0] == 200
    until(lambda: box.mails, "the mail")
    (mail,) = box.mails
    assert mail.recipient == JOOST
    assert mail.sender.endswith("@schouwburg.example")
    text = mail.content.decode().replace("=\r\n", "").replace("=3D", "=")
    (link,) = re.findall(r"https://\S+", text)
    assert link.startswith(f"https://{HOST}/sign-in/")
    path = link.removeprefix(f"https://{HOST}")
    for _ in range(3):  # a scanner opens it, and again
        assert "You come in as <b>Joost</b>" in page(stranger, path, **ELSEWHERE)
    status, headers, _ = post(stranger, path, {"next": STEP}, **ELSEWHERE)
    assert (status, headers["location"]) == (303, STEP)
    assert "Servicemail vooraf" in page(stranger, STEP, **ELSEWHERE, Cookie=cookie_in(headers))
    assert post(stranger, path, **ELSEWHERE)[0] == 410
    assert "ask for a new" in page(stranger, path, 410, **ELSEWHERE).lower()


def test_whoever_is_no_colleague_gets_the_same_answer_and_no_mail(stranger: Ask, box: Outbox) -> None:
    answers = [post(stranger, "/sign-in", {"address": address}) for address in (JOOST, "x@theatre.example", "", "'--")]
    assert {(status, body) for status, _, body in answers} == {(200, answers[0][2])}
    assert len({tuple(sorted(set(headers) - {"date"})) for _, headers, _ in answers}) == 1
    until(lambda: box.mails, "the mail")
    assert box.recipients == [JOOST]


def test_an_address_cannot_be_typed_on_and_on(stranger: Ask, box: Outbox) -> None:
    answers = [post(stranger, "/sign-in", {"address": JOOST})[0] for _ in range(12)]
    assert answers == [200] * 10 + [429] * 2
    until(lambda: len(box.mails) == accounts.MOST_LINKS, "the mails")


def test_a_colleague_is_mailed_a_few_links_only_wherever_they_are_asked_for(known: Settings) -> None:
    with connect(str(known.postgres_url)) as connection:
        made = [accounts.make_link(connection, JOOST, NOW, limited=True) for _ in range(7)]
        assert [bool(token) for token in made] == [True] * 5 + [False] * 2
        assert accounts.make_link(connection, JOOST, NOW)
        assert accounts.make_link(connection, JOOST, NOW + timedelta(minutes=16), limited=True)


def test_a_mail_server_that_is_away_changes_no_answer_and_shows_no_address(
    stranger: Ask, box: Outbox, capfd: pytest.CaptureFixture[str]
) -> None:
    box.down = "the line is cut"
    assert post(stranger, "/sign-in", {"address": JOOST})[0] == 200
    told = ""

    def has_told() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return "could not be mailed" in told

    until(has_told, "the log")
    assert "joost" not in told.lower()


def test_a_link_works_for_an_hour_and_in_one_browser(known: Settings, stranger: Ask) -> None:
    assert post(stranger, link_for(known, NOW - timedelta(minutes=59)), **ELSEWHERE)[0] == 303
    for path in (
        link_for(known, NOW - timedelta(minutes=61)),
        f"/sign-in/{'x' * 43}",
        "/sign-in/x",
        "/sign-in/%00",
        link_for(known)[:-1],
    ):
        assert post(stranger, path, **ELSEWHERE)[0] == 410
        assert stranger(path, **ELSEWHERE)[0] == 410
    token = link_for(known).rpartition("/")[2]

    def use(_: int) -> str:
        with connect(str(known.postgres_url)) as connection:
            try:
                return accounts.use_link(connection, token, NOW)
            except BadSignInError:
                return ""

    with ThreadPoolExecutor(8) as pool:
        assert sum(bool(session) for session in pool.map(use, range(8))) == 1


def test_a_page_of_another_site_cannot_sign_anybody_in_or_out(known: Settings, stranger: Ask) -> None:
    path = link_for(known)
    for forged in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
    ):
        assert post(stranger, path, **ELSEWHERE, **forged)[0] == 403
        assert post(stranger, "/sign-in", {"address": JOOST}, **forged)[0] == 403
    assert post(stranger, path, **ELSEWHERE, Sec_Fetch_Site="same-origin", Origin="null")[0] == 303
    cookie = session_cookie(known)
    assert post(stranger, "/sign-out", {}, Cookie=cookie)[0] == 403
    assert post(stranger, "/sign-out", {"csrf": "0" * 64}, Cookie=cookie)[0] == 403
    assert post(stranger, "/people", {"who": "3"}, Cookie=cookie)[0] == 403
    assert stranger("/sign-out", Cookie=cookie)[0] == 405
    assert stranger("/", Cookie=cookie)[0] == 200


# ---------------------------------------------------------------- the session


def test_the_cookie_is_for_this_host_only_and_out_of_reach_of_scripts(known: Settings, stranger: Ask) -> None:
    _, headers, _ = post(stranger, link_for(known), **ELSEWHERE)
    cookie = headers["set-cookie"]
    assert cookie.startswith("__Host-smp_session=")
    for part in ("HttpOnly", "Secure", "Path=/", "SameSite=lax", "Max-Age=43200"):
        assert part in cookie
    assert "Domain" not in cookie
    _, headers, _ = post(stranger, link_for(known))  # on this machine, where there is no https
    assert headers["set-cookie"].startswith("smp_session=")
    assert "Secure" not in headers["set-cookie"]
    assert "HttpOnly" in headers["set-cookie"]


def test_signing_out_ends_the_session_and_not_only_the_cookie(known: Settings, stranger: Ask) -> None:
    cookie = session_cookie(known)
    (csrf,) = set(re.findall(r'name="csrf" value="([0-9a-f]+)"', page(stranger, "/", Cookie=cookie)))
    other = session_cookie(known)
    assert post(stranger, "/sign-out", {"csrf": csrf}, Cookie=other)[0] == 403
    status, headers, _ = post(stranger, "/sign-out", {"csrf": csrf}, Cookie=cookie)
    assert (status, headers["location"]) == (303, "/sign-in")
    assert 'smp_session=""' in headers["set-cookie"]
    assert stranger("/", Cookie=cookie)[0] == 303
    assert stranger("/", Cookie=other)[0] == 200


def test_a_session_lasts_twelve_hours(known: Settings, stranger: Ask) -> None:
    with connect(str(known.postgres_url)) as connection:
        old = accounts.start_session(connection, None, NOW - timedelta(hours=12))
        young = accounts.start_session(connection, None, NOW - timedelta(hours=11, minutes=50))
    assert stranger("/", Cookie=f"smp_session={old}")[0] == 303
    assert stranger("/", Cookie=f"smp_session={young}")[0] == 200


def test_somebody_who_is_removed_is_out_at_once_and_their_links_with_them(known: Settings, stranger: Ask) -> None:
    path = link_for(known)
    _, headers, _ = post(stranger, link_for(known), **ELSEWHERE)
    cookie = cookie_in(headers)
    assert stranger("/", Cookie=cookie, **ELSEWHERE)[0] == 200
    with connect(str(known.postgres_url)) as connection:
        assert accounts.remove(connection, JOOST, NOW, "tests") == 1
        assert accounts.make_link(connection, JOOST, NOW) is None
        with pytest.raises(SmpError, match="nobody with this address"):
            accounts.remove(connection, JOOST, NOW, "tests")
    assert stranger("/", Cookie=cookie, **ELSEWHERE)[0] == 303
    assert post(stranger, path, **ELSEWHERE)[0] == 410
    with connect(str(known.postgres_url)) as connection:
        assert accounts.add(connection, JOOST, "Joost", NOW, "tests")
    assert stranger("/", Cookie=cookie, **ELSEWHERE)[0] == 303, "who comes back signs in anew"


def test_the_database_holds_nothing_that_one_could_sign_in_with(known: Settings, stranger: Ask) -> None:
    path = link_for(known)
    unused = link_for(known)
    _, headers, _ = post(stranger, path, **ELSEWHERE)
    tokens = [cookie_in(headers).partition("=")[2], path.rpartition("/")[2], unused.rpartition("/")[2]]
    with psycopg.connect(str(known.postgres_url)) as connection:
        kept = " ".join(
            str(row[0])
            for table in ("colleague", "sign_in", "session")
            for row in connection.execute(f"select t::text from smp.{table} t").fetchall()
        )
    assert JOOST in kept
    for token in tokens:
        assert token not in kept
        assert token.encode().hex() not in kept


def test_a_name_is_never_markup_on_the_page(known: Settings, stranger: Ask) -> None:
    with connect(str(known.postgres_url)) as connection:
        accounts.add(connection, "x@theatre.example", "<script>alert(1)</script>", NOW, "tests")
    path = link_for(known, address="x@theatre.example")
    assert "<script" not in page(stranger, path, **ELSEWHERE)
    cookie = cookie_in(post(stranger, path, **ELSEWHERE)[1])
    body = page(stranger, "/", Cookie=cookie, **ELSEWHERE)
    assert "&lt;script&gt;" in body
    assert "<script" not in body


# ---------------------------------------------------------------- this machine


def test_the_link_of_this_machine_signs_in_here_as_often_as_one_likes_and_nowhere_else(
    known: Settings, stranger: Ask
) -> None:
    machine.renew(known.home)
    path = machine.sign_in_path(known.home, NOW)
    for _ in range(2):
        assert "the user of this machine" in page(stranger, f"{path}?next=/sends/1")
        status, headers, _ = post(stranger, path, {"next": "/sends"})
        assert (status, headers["location"]) == (303, "/sends")
        body = page(stranger, "/sends", Cookie=cookie_in(headers))
        assert "This machine" in body
    for headers in (ELSEWHERE, {"Host": HOST}, {"X_Forwarded_For": "127.0.0.1"}, {"Via": "1.1 proxy"}):
        assert post(stranger, path, **headers)[0] == 410
        assert stranger(path, **headers)[0] == 410


def test_the_link_of_this_machine_ends_with_what_runs_and_after_a_week(known: Settings, stranger: Ask) -> None:
    with pytest.raises(SmpError, match="nothing runs here"):
        machine.sign_in_path(known.home, NOW)
    machine.renew(known.home)
    first = machine.sign_in_path(known.home, NOW)
    old = machine.sign_in_path(known.home, NOW - timedelta(days=7))
    assert stranger(first)[0] == 200
    assert stranger(old)[0] == 410
    assert stranger(first.replace("here/", "here/x"))[0] == 410
    machine.renew(known.home)
    assert stranger(first)[0] == 410
    second = machine.sign_in_path(known.home, NOW)
    assert stranger(second)[0] == 200
    machine.forget(known.home)
    assert stranger(second)[0] == 410
    assert (known.home / "sign-in.key").exists() is False


# ---------------------------------------------------------------- where it leads


def test_a_link_leads_to_pages_of_this_site_only(known: Settings, stranger: Ask) -> None:
    for leads_to in (
        *("https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "\\\\evil.example"),
        *("javascript:alert(1)", "/:x", "/sends\r\nSet-Cookie: x=1", "sends", "/@evil.example", "/" + "x" * 600, ""),
        "/sign-in/here/x",
    ):
        status, headers, _ = post(stranger, link_for(known), {"next": leads_to}, **ELSEWHERE)
        assert (status, headers["location"]) == (303, "/"), leads_to
        assert "x=1" not in headers["set-cookie"]


@given(st.text(max_size=40) | st.from_regex(r"[/\\]{1,3}[a-z.@:?#%]{1,20}", fullmatch=True))
def test_an_own_path_names_no_host_and_no_scheme(text: str) -> None:
    path = own_path(text)
    assert path[0] == "/"
    assert path[1:2] not in ("/", "\\")
    assert path.isascii()
    assert path.isprintable()
    assert "\\" not in path
