"""Blocks with what is in the CRM: products, and a mail as it leaves, with its pictures and the links of its reader."""

from __future__ import annotations

import dataclasses
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import psycopg

from smp_pipelines.campaign.content.page import empty_context
from smp_pipelines.campaign.content.readable import named_products
from smp_pipelines.sending.context import read_contexts, read_products
from smp_pipelines.sending.delivery import Delivering
from smp_pipelines.stores.clock import StartedAt
from tests.support.theatre import PERFORMANCE, Theatre, deployment
from tests.support.written import PNG, Written

BLOCKS = f"""\
- {{type: text, text: "# Dag $voornaam"}}
- {{type: image, file: foyer.png, alt: Foyer}}
- {{type: product, record: performance, id: {PERFORMANCE}, show: [starts_at]}}
- {{type: button, text: Kies, url: $voorkeuren}}
"""


def sent(house: Theatre, folder: Path) -> EmailMessage:
    """The one mail that a send of the step leaves in a folder."""
    house.people(1, tickets=False)
    house.live()
    send = house.plan_these([1])
    settings = dataclasses.replace(house.deployment.settings, mail_url=folder.as_uri().replace("file:", "eml:"))
    done = Delivering(settings, house.url, house.deployment.project, send, StartedAt(house.now)).run()
    assert (done.accepted, house.states(send)) == (1, {"accepted": 1})
    (file,) = list(folder.rglob("*.eml"))
    message = message_from_bytes(file.read_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_of_blocks_leaves_with_its_product_its_picture_and_its_personal_link(
    tmp_path: Path, postgres_url: str
) -> None:
    project = Written.make(tmp_path / "my project").file("foyer.png", PNG).blocks("mail", BLOCKS)
    own = deployment(
        postgres_url,
        tmp_path / "state",
        project=project.folder,
        public_url="https://links.example",
        link_secret="x" * 32,
    )
    message = sent(Theatre(own, step="trial/mail"), tmp_path / "mails")
    html, text = (message.get_body((kind,)).get_content() for kind in ("html", "plain"))  # type: ignore[union-attr]
    assert 'src="https://links.example/media/trial/foyer.png"' in html
    assert "Hamlet" in html
    lines = [line for line in text.splitlines() if line]
    assert lines[:5] == ["De Linde", "Dag Anna", "Hamlet", "woensdag 25 november 2026, 09:00", lines[4]]
    assert lines[4].startswith("Kies: https://links.example/p/")


def test_a_product_by_its_id_is_read_once_for_all_and_left_out_when_it_is_gone(
    tmp_path: Path, postgres_url: str
) -> None:
    project = Written.make(tmp_path / "my project").blocks(
        "page", "- {type: product, record: performance, id: 5}\n- {type: product, record: performance, id: 6}"
    )
    loaded = project.load()
    ref = loaded.step("trial/page")
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "insert into crm.performance (performance_id, title, genre, hall, starts_at, duration_minutes)"
            " values (5, 'Hamlet', 'toneel', 'Kleine Zaal', now(), 90);"
            "insert into crm.person (person_id, last_name, created_at) values (1, 'Bakker', now())"
        )
        products = read_products(connection, named_products(ref, loaded))
        (rows,) = read_contexts(connection, [(1, None)], None, None, named_products(ref, loaded)).values()
    assert list(products["products"]) == ["performance/5"]
    assert rows["products"] == products["products"]
    body = project.page().render(empty_context(ref, loaded) | products).body
    assert body.count("<h2>") == body.count("<h2>Hamlet</h2>") == 1
