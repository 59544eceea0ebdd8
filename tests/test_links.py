"""Signed links: what is signed comes back, anything else is refused, keys can be replaced."""

from __future__ import annotations

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smp_pipelines.problems import SmpError
from smp_pipelines.sending.ledger import Send
from smp_pipelines.sending.links import (
    BadLinkError,
    DecisionLink,
    LinkSigner,
    MailLinks,
    read_decision,
    read_unsubscribe,
)
from smp_pipelines.stores.settings import Settings, read_settings
from tests.conftest import REPOSITORY

OLD, NEW = "an old secret of some length", "a new secret of some length"
SIGNER = LinkSigner([NEW])
VALUES = st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=40)), max_size=5)
SEND = Send(
    12, "servicemails/servicemail@1", "servicemails/check", "internal", datetime(2026, 11, 23, tzinfo=UTC), "open", 1
)
KEY = UUID("0123456789abcdef0123456789abcdef")


@given(VALUES)
def test_what_is_signed_comes_back_with_its_types_and_fits_an_address(values: list[int | str]) -> None:
    token = SIGNER.sign("purpose", *values)
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", token)
    if len(token) <= 400:
        assert SIGNER.read("purpose", token) == tuple(values)


def test_a_token_with_any_character_changed_added_or_left_out_is_refused() -> None:
    token = SIGNER.sign("unsubscribe", 12, KEY.hex)
    for place in range(len(token)):
        for other in {"A", "B", "0", "1", ".", "~", "-", "é", "%"} - {token[place]}:
            changed = token[:place] + other + token[place + 1 :]
            with pytest.raises(BadLinkError):
                SIGNER.read("unsubscribe", changed)
        with pytest.raises(BadLinkError):
            SIGNER.read("unsubscribe", token[:place] + token[place + 1 :])
        with pytest.raises(BadLinkError):
            SIGNER.read("unsubscribe", token[:place])
    for more in ("x", ".1", "=", "\n", "." * 500):
        with pytest.raises(BadLinkError):
            SIGNER.read("unsubscribe", token + more)


@given(st.text())
def test_anything_else_is_refused_in_friendly_words(token: str) -> None:
    with pytest.raises(BadLinkError, match="Open it again from the mail"):
        SIGNER.read("unsubscribe", token)


def test_a_token_is_for_one_purpose() -> None:
    token = SIGNER.sign("unsubscribe", 12, KEY.hex)
    with pytest.raises(BadLinkError):
        SIGNER.read("decision", token)


def test_a_signature_has_at_least_128_bits() -> None:
    signature = SIGNER.sign("unsubscribe", 1).split(".")[0]
    assert len(signature) * 6 >= 128


def test_the_first_secret_signs_and_all_are_accepted() -> None:
    old, both, new = LinkSigner([OLD]), LinkSigner([NEW, OLD]), LinkSigner([NEW])
    assert both.sign("p", 1) == new.sign("p", 1) != old.sign("p", 1)
    assert both.read("p", old.sign("p", 1)) == (1,)
    assert both.read("p", new.sign("p", 1)) == (1,)
    with pytest.raises(BadLinkError):
        new.read("p", old.sign("p", 1))


@pytest.mark.parametrize("secrets", [[], [""], [NEW, ""]])
def test_without_a_secret_nothing_is_signed(secrets: list[str]) -> None:
    with pytest.raises(SmpError, match="SMP_LINK_SECRET"):
        LinkSigner(secrets)


def test_the_links_of_a_mail_lead_to_what_they_say() -> None:
    links = MailLinks("https://links.theatre.example", SIGNER, "servicemails/servicemail", SEND)
    token = links.unsubscribe(KEY).removeprefix("https://links.theatre.example/u/")
    assert read_unsubscribe(SIGNER, token) == (12, KEY)
    blocking = links.block(7, 42).removeprefix("https://links.theatre.example/r/")
    link = DecisionLink("blocked", "servicemails/servicemail", 42, 7)
    assert read_decision(SIGNER, blocking) == link
    approving = links.approve(7, 42).removeprefix("https://links.theatre.example/r/")
    assert read_decision(SIGNER, approving) == link.other


@pytest.mark.parametrize("values", [(), (12,), (12, "zz"), ("12", KEY.hex), (12, KEY.hex, 1), (12, 5)])
def test_a_signed_token_of_another_shape_is_refused(values: tuple[int | str, ...]) -> None:
    with pytest.raises(BadLinkError):
        read_unsubscribe(SIGNER, SIGNER.sign("unsubscribe", *values))
    with pytest.raises(BadLinkError):
        read_decision(SIGNER, SIGNER.sign("decision", *values))


# ---------------------------------------------------------------- settings


def test_without_a_secret_in_the_environment_all_processes_agree_on_one_in_a_private_file(tmp_path: Path) -> None:
    settings = Settings(REPOSITORY, tmp_path / "my home")
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: settings.link_secrets, range(64)))
    file = tmp_path / "my home" / "link.key"
    assert set(found) == {(file.read_text().strip(),)}
    assert len(found[0][0]) >= 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in file.parent.iterdir()] == ["link.key"]


def test_an_empty_key_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "link.key").write_text("")
    with pytest.raises(SmpError, match="is empty: delete it"):
        _ = Settings(REPOSITORY, tmp_path).link_secrets


def test_secrets_and_the_public_address_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMP_LINK_SECRET", f"{NEW}, {OLD}")
    monkeypatch.setenv("SMP_SITE_URL", "https://links.theatre.example/")
    settings = read_settings(REPOSITORY)
    assert settings.link_secrets == (NEW, OLD)
    assert settings.site_url == "https://links.theatre.example"
    assert settings.pages_url == "http://127.0.0.1:8026"
    assert NEW not in repr(settings)
    monkeypatch.delenv("SMP_SITE_URL")
    assert read_settings(REPOSITORY).site_url == "http://127.0.0.1:8026"


@pytest.mark.parametrize("secret", ["short", f"{NEW},short", f"{NEW},"])
def test_a_short_secret_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("SMP_LINK_SECRET", secret)
    with pytest.raises(SmpError, match="fewer than 16 characters") as refused:
        read_settings(REPOSITORY)
    assert secret not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["links.theatre.example", "ftp://x.example", "https://x.example/path", "https://u:p@x.example", "https://x:99999"],
)
def test_an_address_that_is_not_a_scheme_and_a_host_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("SMP_SITE_URL", url)
    with pytest.raises(SmpError, match="SMP_SITE_URL must be a scheme and a host only"):
        read_settings(REPOSITORY)
