"""Context: what the templates may read about a person, for many people in three statements, and products besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import Buffer, Loader
from psycopg.rows import dict_row
from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

from smp_pipelines.campaign.content.readable import NamedProduct
from smp_pipelines.campaign.models import Record
from smp_pipelines.stores.postgres import Connection

Recipient = tuple[int, int | None]
"""A person and the linked record (None for a step without one)."""


def _or_nothing(loader: type[Loader]) -> type[Loader]:
    """A loader that reads a moment which Python cannot hold (infinity, the year 12000, before Christ) as nothing.

    One such value in the CRM must not keep the mail from everybody else in the batch.
    """

    class OrNothing(loader):  # type: ignore[valid-type,misc]
        def load(self, data: Buffer) -> Any:
            try:
                return super().load(data)
            except psycopg.DataError:
                return None

    return OrNothing


_LOADERS = {
    name: _or_nothing(loader)
    for name, loader in (("date", DateLoader), ("timestamp", TimestampLoader), ("timestamptz", TimestamptzLoader))
}


def read_contexts(
    connection: Connection,
    recipients: Sequence[Recipient],
    record_name: str | None,
    record: Record | None,
    products: Sequence[NamedProduct] = (),
) -> dict[Recipient, dict[str, Any]]:
    """The rows that a template sees, per recipient: person, organisation (or None) and the linked record.

    A person, or a linked record, that is not in the CRM any more is left out. `products`: those that the step's
    blocks name (`named_products`); everybody's context gets them.
    """
    named = read_products(connection, products)
    people = _rows(connection, "crm.person", "person_id", [person_id for person_id, _ in recipients])
    organisations = _rows(
        connection, "crm.organisation", "organisation_id", [row.get("organisation_id") for row in people.values()]
    )
    records = _rows(connection, record.table, record.key, [key for _, key in recipients]) if record else {}
    contexts = {}
    for person_id, record_id in recipients:
        person = people.get(person_id)
        if person is None or (record is not None and record_id not in records):
            continue
        context = {"person": person, "organisation": organisations.get(person.get("organisation_id")), **named}
        contexts[person_id, record_id] = context | ({record_name: records[record_id]} if record and record_name else {})
    return contexts


def read_products(connection: Connection, products: Sequence[NamedProduct]) -> dict[str, Any]:
    """What the blocks of a step read of the products that they name; one that is gone is left out, and so its block.

    To be put into the context of a mail or page: `empty_context(ref, project) | read_products(…)`.
    """
    found: dict[str, dict[str, Any]] = {}
    for record in {product.record.table: product.record for product in products}.values():
        wanted = [product for product in products if product.record.table == record.table]
        rows = _rows(connection, record.table, record.key, [product.record_id for product in wanted])
        found |= {product.key: rows[product.record_id] for product in wanted if product.record_id in rows}
    return {"products": found}


def full_name(person: Mapping[str, Any]) -> str:
    """A person's name as it stands on an envelope."""
    return " ".join(str(person[part]) for part in ("first_name", "infix", "last_name") if person.get(part))


def _rows(connection: Connection, table: str, key: str, values: Sequence[int | None]) -> dict[Any, dict[str, Any]]:
    wanted = list({value for value in values if value is not None})
    if not wanted:
        return {}
    query = sql.SQL("select * from {} where {} = any (%s)").format(
        sql.Identifier(*table.split(".")), sql.Identifier(key)
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        for name, loader in _LOADERS.items():
            cursor.adapters.register_loader(name, loader)
        return {row[key]: row for row in cursor.execute(query, (wanted,))}
