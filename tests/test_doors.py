"""Who may reach which page: from this machine and elsewhere, signed in or not, through a proxy or past it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from smp_pipelines.problems import SmpError
from smp_pipelines.site.app import make_app
from smp_pipelines.site.doors import HEALTH, SIGN_IN, is_from_here
from smp_pipelines.site.visitors.mail_links import is_public
from smp_pipelines.stores.clock import StartedAt
from smp_pipelines.stores.settings import Settings, read_settings
from tests.site_pages import NOW, STEP, Ask, a_house, page, running_app, serving, session_cookie

HOST = "links.theatre.example"
COLLEAGUES = ("/", "/sends", "/sends/1", STEP, f"{STEP}/html?person=3", "/people", "/people/3")
PASSED_ON = {"X_Forwarded_For": "192.0.2.1"}


@pytest.fixture(name="known", scope="module")
def known_settings(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    folder = tmp_path_factory.mktemp("doors")
    with a_house(embedded_url, migrated_template, folder, public_url=f"https://{HOST}") as settings:
        yield settings


@pytest.fixture(name="stranger", scope="module")
def a_stranger(known: Settings) -> Iterator[Ask]:
    """Whoever is not signed in; asks from this machine unless a host is named."""
    with serving(known, signed_in=False) as ask:
        yield ask


def test_no_page_answers_somebody_unknown_but_the_public_ones_and_the_way_in(known: Settings, stranger: Ask) -> None:
    app = make_app(known, StartedAt(NOW))
    paths = [each.path for each in app.app.routes if isinstance(each, Route | Mount)]
    assert len(paths) > 10
    guarded = [path for path in paths if not is_public(f"{path}/") and not path.startswith(SIGN_IN) and path != HEALTH]
    assert {"/", "/sends", "/steps/{campaign}/{step}", "/people/{person}"} <= set(guarded)
    for path in guarded:
        path = path.replace("{campaign}/{step}", STEP.removeprefix("/steps/")).replace("{person}", "3")
        for headers in ({}, {"Host": HOST}):
            for method in ("GET", "POST", "HEAD", "PUT"):
                status, _, body = stranger(path.replace("{send}", "1"), None, method, **headers)
                assert status in (303, 403), (path, method)
                assert "Anna" not in body


def test_a_stranger_is_led_to_the_sign_in_page_and_back_to_what_was_asked_for(stranger: Ask) -> None:
    for headers in ({}, {"Host": HOST}):
        for path in COLLEAGUES[1:]:
            status, answered, _ = stranger(path, **headers)
            assert status == 303
            assert answered["location"] == f"/sign-in?next={path.replace('?', '%3F').replace('=', '%3D')}"
        assert stranger("/", **headers)[1]["location"] == "/sign-in"


def test_from_elsewhere_a_colleague_sees_the_pages_and_a_stranger_does_not(known: Settings, stranger: Ask) -> None:
    cookie = session_cookie(known, "Joost")
    for path in ("/", "/sends", STEP):
        assert stranger(path, Host=HOST, Cookie=cookie)[0] == 200
        assert stranger(path, Host=HOST, Cookie=cookie, **PASSED_ON)[0] == 200
        assert stranger(path, Host=HOST, Cookie=cookie[:-1] + "x")[0] == 303


def test_the_session_of_this_machine_counts_on_this_machine_only(known: Settings, stranger: Ask) -> None:
    cookie = session_cookie(known)
    assert stranger("/", Cookie=cookie)[0] == 200
    assert stranger("/", Cookie=cookie, **PASSED_ON)[0] == 303
    for carried in (cookie, f"__Host-{cookie}"):
        assert stranger("/", Cookie=carried, Host=HOST)[0] == 303


def test_a_host_that_is_none_of_ours_is_refused_whoever_asks(known: Settings, stranger: Ask) -> None:
    for host in ("evil.example", f"{HOST}.evil.example", "", "[::1]", "127.0.0.1.evil.example", "169.254.169.254"):
        for path in ("/", "/u/x", "/sign-in", "/health", "/static/site.css"):
            assert stranger(path, Host=host, Cookie=session_cookie(known))[0] == 400, (host, path)


def test_health_answers_this_machine_only(known: Settings, stranger: Ask) -> None:
    assert stranger("/health")[0] == 200
    assert stranger("/health", **PASSED_ON)[0] == 404
    assert stranger("/health", Host=HOST)[0] == 404
    assert stranger("/health", Host=HOST, Cookie=session_cookie(known, "Joost"))[0] == 404


def test_what_is_no_page_is_told_to_visitors_in_their_language(stranger: Ask) -> None:
    for path in ("/x", "/wp-login.php", "/steps"):
        status, _, body = stranger(path, Host=HOST)
        assert status == 404
        assert "Hier is niets te vinden" in body


def test_a_public_page_answers_whoever_asks(stranger: Ask) -> None:
    for host in ("127.0.0.1", "localhost", HOST, f"{HOST.upper()}:443"):
        assert stranger("/u/x", Host=host)[0] == 400
        assert stranger("/static/site.css", Host=host)[0] == 200


def test_a_database_that_is_away_is_told_to_strangers_in_few_words(known: Settings) -> None:
    away = dataclasses.replace(known, postgres_url="postgresql://smp:secret@127.0.0.1:1/smp")
    with serving(away) as ask:
        assert "No connection to Postgres" in page(ask, "/", 503)
        status, _, body = ask("/", Host=HOST, Cookie=f"__Host-smp_session={'x' * 43}")
    assert status == 503
    assert "127.0.0.1" not in body
    assert "Even niet beschikbaar" in body


# ---------------------------------------------------------------- proxies


def told(request: Request) -> PlainTextResponse:
    client = request.client.host if request.client else ""
    return PlainTextResponse(f"{client} {request.url.scheme} {is_from_here(request)}")


@pytest.mark.parametrize(
    ("proxies", "headers", "seen"),
    [
        ("", {}, "127.0.0.1 http True"),
        ("", {"X_Forwarded_For": "192.0.2.1", "X_Forwarded_Proto": "https"}, "127.0.0.1 http False"),
        ("10.0.0.0/8", {"X_Forwarded_For": "192.0.2.1"}, "127.0.0.1 http False"),
        ("127.0.0.1", {}, "127.0.0.1 http True"),
        ("127.0.0.1", {"X_Forwarded_For": "192.0.2.1", "X_Forwarded_Proto": "https"}, "192.0.2.1 https False"),
        # what the visitor wrote comes first; what the proxy saw itself comes last
        ("127.0.0.0/8", {"X_Forwarded_For": "127.0.0.1, 192.0.2.1"}, "192.0.2.1 http False"),
        ("127.0.0.1,10.0.0.0/8", {"X_Forwarded_For": "6.6.6.6, 192.0.2.1, 10.1.2.3"}, "192.0.2.1 http False"),
        # all are proxies: still nobody of this machine
        ("127.0.0.1", {"X_Forwarded_For": "127.0.0.1"}, "127.0.0.1 http False"),
        ("127.0.0.1", {"X_Forwarded_For": "2001:db8::1", "X_Forwarded_Proto": "javascript"}, "2001:db8::1 http False"),
        ("", {"X_Real_Ip": "127.0.0.1"}, "127.0.0.1 http False"),
        ("", {"Forwarded": "for=127.0.0.1"}, "127.0.0.1 http False"),
    ],
)
def test_only_a_named_proxy_is_believed_about_who_a_visitor_is(
    proxies: str, headers: dict[str, str], seen: str
) -> None:
    with running_app(Starlette(routes=[Route("/", told)]), proxies=proxies) as ask:
        assert page(ask, "/", 200, **headers) == seen


def test_proxies_that_are_no_addresses_are_refused(project_folder: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMP_PROJECT", str(project_folder))
    for written in ("proxy.example", "10.0.0.1/8", "*", "127.0.0.1,x"):
        monkeypatch.setenv("SMP_PROXIES", written)
        with pytest.raises(SmpError, match="SMP_PROXIES names addresses and networks"):
            read_settings()
    monkeypatch.setenv("SMP_PROXIES", " 127.0.0.1, 2001:db8::/32 ")
    assert read_settings().proxies == "127.0.0.1,2001:db8::/32"


def test_somebody_on_the_network_who_names_this_machine_is_not_on_it() -> None:
    def asked(client: str, **headers: str) -> Request:
        sent = [(name.encode(), value.encode()) for name, value in {"host": "localhost:8026", **headers}.items()]
        return Request({"type": "http", "client": (client, 1), "headers": sent})

    assert is_from_here(asked("127.0.0.1"))
    assert is_from_here(asked("::1"))
    assert not is_from_here(asked("192.168.1.7"))
    assert not is_from_here(asked("testclient"))
    assert not is_from_here(asked("127.0.0.1", host="links.theatre.example"))
