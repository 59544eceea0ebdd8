"""Tests of the links that somebody was mailed before two cards became one: they lead to the person of today (F50)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from smp_pipelines.crm.merging import merge
from smp_pipelines.stores.postgres import connect
from smp_pipelines.submission.ticket import FIELD
from tests.support.visits import ANNA, NOW, VisitedSite, preferences, visited

DOUBLE, GONE = 21, 22
CENTRE = "preferences/centre"


@pytest.fixture(name="opened", scope="module")
def merged_site(
    embedded_url: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[VisitedSite, str]]:
    """A site on which Anna once had two cards, and the hidden field of a form that she opened by then."""
    with visited(embedded_url, migrated_template, tmp_path_factory.mktemp("merged")) as site:
        site.sql("insert into crm.person (person_id, last_name, created_at) values (21, 'Adema', now())")
        ticket = site.ask(site.personal(CENTRE, DOUBLE)).ticket
        with connect(str(site.settings.postgres_url)) as connection:
            merge(connection, [(DOUBLE, ANNA)], [], NOW, "anna")
        yield site, ticket


@pytest.fixture(name="site")
def the_site(opened: tuple[VisitedSite, str]) -> VisitedSite:
    """The site alone."""
    return opened[0]


def test_a_personal_link_of_the_card_that_went_leads_to_the_one_that_stayed(site: VisitedSite) -> None:
    answer = site.ask(site.personal(CENTRE, DOUBLE))
    assert (answer.status, answer.location) == (303, site.personal(CENTRE, ANNA))
    assert site.ask(answer.location).value("first_name") == "Anna"


def test_a_form_that_was_open_during_the_merge_is_stored(opened: tuple[VisitedSite, str]) -> None:
    site, ticket = opened
    answers = preferences(first_name="Annie") | {FIELD: ticket}
    assert site.post(site.personal(CENTRE, DOUBLE), answers).status == 303
    assert site.one("select first_name from crm.person where person_id = %s", ANNA) == "Annie"


def test_somebody_who_is_gone_is_told_so(site: VisitedSite) -> None:
    assert site.ask(site.personal(CENTRE, GONE)).status == 410
