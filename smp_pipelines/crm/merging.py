"""Merging: two person cards that were one and the same person become one, with all that was under both keys (F50).

Whatever refers to a person follows, in one transaction: CRM tables, the ledger, submissions, hits, frozen groups and
participations. A decision keeps its moment: of two about the same topic the later one counts, so that a merge makes no
yes of a no. Nobody gets a mail twice for having been two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from smp_pipelines.problems import SmpError
from smp_pipelines.stores.postgres import Connection, engine_sql

_FIRST = {
    ("crm", "consent"): "changed_at desc, granted,",
    ("smp", "target_member"): "since desc, linked,",
}
"""Which of several rows with the same key stays, where that is not the surviving person's own: the latest decision, and
of two at the same moment the no."""


@dataclass(frozen=True)
class Merged:
    """What a merge did: rows that moved per table, rows dropped because the survivor had the same, and in sends and
    flows: mails that are not sent since the survivor gets that mail too, participations that left for the other one.
    """

    people: int
    moved: Mapping[str, int]
    dropped: Mapping[str, int]
    mails_skipped: int
    left: int


@dataclass(frozen=True)
class _Place:
    """A column that holds persons; keys: what else is in each unique index that it is part of, and its condition."""

    schema: str
    table: str
    column: str
    stamped: bool
    keys: Sequence[tuple[Sequence[str], str | None]]

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def is_of_person(self) -> bool:
        """Whether it is the person card itself that refers to another one."""
        return (self.schema, self.table) == ("crm", "person")


def merge(
    connection: Connection,
    pairs: Sequence[tuple[int, int]],
    once: Sequence[str],
    now: datetime,
    by: str,
    reason: str | None = None,
) -> Merged:
    """Merge persons, all or none: each pair is the key that goes and the one that stays. One walk through the ledger.

    once: the steps that send one mail per address (`deduplicate`). Raises SmpError for a key that is not in the CRM,
    that goes twice, or that goes and stays.
    """
    _refuse_unfit(pairs)
    try:
        with connection.transaction():
            return _merge(connection, pairs, once, now, by, reason)
    except (psycopg.errors.UniqueViolation, psycopg.errors.ForeignKeyViolation) as error:
        table = f"{error.diag.schema_name}.{error.diag.table_name}"
        raise SmpError(
            f"nothing was merged: {table} does not allow it ({error.diag.constraint_name}), or somebody wrote there "
            "at the same moment; try again"
        ) from error


def survivor(connection: Connection, person_id: int) -> int | None:
    """Into whom somebody was merged; None for everybody else."""
    found = connection.execute("select new_id from smp.person_merge where old_id = %s", (person_id,)).fetchone()
    return int(found[0]) if found else None


def _merge(
    connection: Connection,
    pairs: Sequence[tuple[int, int]],
    once: Sequence[str],
    now: datetime,
    by: str,
    reason: str | None,
) -> Merged:
    connection.execute(engine_sql("merge/begin.sql"))
    with connection.cursor() as cursor:
        cursor.executemany("insert into smp_merge values (%s, %s)", list(pairs))
    connection.execute(engine_sql("merge/hold.sql"))
    _refuse_unknown(connection, pairs)
    moved, dropped = _move_rows(connection)
    connection.execute(engine_sql("merge/mails.sql"), {"once": list(once)})
    mails, skipped = _counts(connection, "merge/ledger.sql", now)
    participations, left = _move_participations(connection, now)
    _move_test_results(connection)
    _join_cards(connection)
    connection.execute(engine_sql("merge/audit.sql"), {"now": now, "by": by, "reason": reason})
    moved |= {"smp.message": mails, "smp.participant": participations}
    return Merged(len(pairs), {name: count for name, count in moved.items() if count}, dropped, skipped, left)


def _refuse_unfit(pairs: Sequence[tuple[int, int]]) -> None:
    going = [old for old, _ in pairs]
    for old, new in pairs:
        if old == new:
            raise SmpError(
                f"person {old} cannot be merged with themselves: give the key that goes and the one that stays"
            )
        if going.count(old) > 1:
            raise SmpError(f"person {old} is to go twice: give one key that stays")
        if new in going:
            raise SmpError(f"person {new} is to stay and to go: give the key that stays in the end")


def _refuse_unknown(connection: Connection, pairs: Sequence[tuple[int, int]]) -> None:
    """Raise SmpError unless everybody is there; the cards are held, so that nobody writes to them meanwhile."""
    held = connection.execute(
        "select person_id from crm.person where person_id in (select id from smp_merge_id) order by 1 for update"
    )
    known = {person_id for (person_id,) in held}
    for each in [each for pair in pairs for each in pair if each not in known]:
        into = survivor(connection, each)
        raise SmpError(f"there is no person {each}" if into is None else f"person {each} was merged into {into} before")


def _move_rows(connection: Connection) -> tuple[dict[str, int], dict[str, int]]:
    moved: dict[str, int] = {}
    dropped: dict[str, int] = {}
    for place in [_Place(*row) for row in connection.execute(engine_sql("merge/places.sql")).fetchall()]:
        thinned = [connection.execute(_thin(place, *key)).rowcount for key in place.keys]
        if sum(thinned):
            dropped[place.name] = dropped.get(place.name, 0) + sum(thinned)
        moved[place.name] = moved.get(place.name, 0) + connection.execute(_move(place)).rowcount
    return moved, dropped


def _thin(place: _Place, parts: Sequence[str], condition: str | None) -> sql.Composed:
    told = [_told_by_postgres(part) for part in parts]
    # a null is never the same as another one
    conditions = [sql.SQL("and ({}) is not null").format(part) for part in told]
    if condition is not None:
        conditions.append(sql.SQL("and ({})").format(_told_by_postgres(condition)))
    return sql.SQL(engine_sql("merge/thin.sql")).format(
        table=sql.Identifier(place.schema, place.table),
        column=sql.Identifier(place.column),
        parts=sql.SQL("").join(sql.SQL(", {}").format(part) for part in told),
        first=_told_by_postgres(_FIRST.get((place.schema, place.table), "")),
        condition=sql.SQL(" ").join(conditions),
    )


def _told_by_postgres(text: str) -> sql.SQL:
    """SQL that is ours or that Postgres itself wrote of an index; nobody's values are in it."""
    return sql.SQL(text)


def _move(place: _Place) -> sql.Composed:
    column = sql.Identifier(place.column)
    # nobody is their own partner, parent or introducer
    target = sql.SQL("nullif(smp_new, t.person_id)" if place.is_of_person else "smp_new")
    stamp = sql.SQL(", changed_tx = pg_current_xact_id()" if place.stamped else "")
    return sql.SQL("update {} as t set {} = {}{} from smp_merge where t.{} = smp_old").format(
        sql.Identifier(place.schema, place.table), column, target, stamp, column
    )


def _move_participations(connection: Connection, now: datetime) -> tuple[int, int]:
    connection.execute(engine_sql("merge/participants.sql"))
    connection.execute(engine_sql("merge/renumber.sql"))
    counts = _counts(connection, "merge/flows.sql", now)
    connection.execute(engine_sql("merge/outbox.sql"))
    connection.execute(engine_sql("merge/waiting.sql"))
    return counts


def _counts(connection: Connection, name: str, now: datetime) -> tuple[int, int]:
    found = connection.execute(engine_sql(name), {"now": now}).fetchone()
    return (found[0], found[1]) if found else (0, 0)


def _move_test_results(connection: Connection) -> None:
    connection.execute(
        "update smp.audience_test_result set person_ids = array(select coalesce(smp_new, id) from"
        " unnest(person_ids) with ordinality as u (id, place) left join smp_merge on smp_old = id order by place)"
        " where person_ids && array(select smp_old from smp_merge)"
    )


def _join_cards(connection: Connection) -> None:
    """Fill what is empty on the cards that stay, from those that go, which are removed; blocked stays blocked."""
    found = connection.execute(engine_sql("merge/columns.sql")).fetchall()
    columns = [name for (name,) in found]
    connection.execute(
        "create temp table smp_merge_card on commit drop as"
        " select smp_new, p.* from smp_merge join crm.person as p on p.person_id = smp_old"
    )
    connection.execute("delete from crm.person where person_id in (select smp_old from smp_merge)")
    fill = sql.SQL("{0} = case when coalesce(p.{0}::text, '') = '' then coalesce(f.{0}, p.{0}) else p.{0} end")
    first = sql.SQL("(array_agg({0} order by person_id) filter (where coalesce({0}::text, '') <> ''))[1] as {0}")
    connection.execute(
        sql.SQL(engine_sql("merge/cards.sql")).format(
            filled=sql.SQL(", ").join(fill.format(sql.Identifier(name)) for name in columns),
            firsts=sql.SQL(", ").join(first.format(sql.Identifier(name)) for name in columns),
        )
    )
