"""The catalogue: which tables and columns there are, read from the project's schema files.

Reading the files instead of the database means that `smp check`, editors and the Dagster code
server know every table without a server; migrations make the database follow the same files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

import sqlglot
from sqlglot import exp

from smp_pipelines.problems import Problem, ProjectError


@dataclass(frozen=True)
class Column:
    """A column: its Postgres type in lower case, whether it may be null, its comment.

    `expression` is the Postgres SQL of its default, or of its value when it is generated.
    """

    name: str
    type: str
    nullable: bool = True
    generated: bool = False
    has_default: bool = False
    comment: str | None = None
    expression: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ForeignKey:
    """A reference from one column of a table to the key column of another."""

    column: str
    table: str
    target: str


@dataclass(frozen=True)
class Table:
    """A table of the CRM, with its qualified name (`crm.person`) and its primary key."""

    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    comment: str | None = None

    @property
    def short_name(self) -> str:
        """The name without its schema."""
        return self.name.partition(".")[2]


@dataclass(frozen=True)
class Catalog:
    """All tables that selections may read, by qualified name."""

    tables: Mapping[str, Table] = field(default_factory=dict)

    def crm(self) -> list[Table]:
        """The CRM's tables, in the order in which the schema files create them."""
        return [table for name, table in self.tables.items() if name.startswith("crm.")]

    def nearest(self, name: str) -> str | None:
        """The table name closest to a misspelt one, or None."""
        return next(iter(get_close_matches(name, self.tables, n=1, cutoff=0.5)), None)


CONTACT_MOMENT = Table(
    name="smp.contact_moment",
    comment="Every contact moment of every person, once: what was sent, opened, clicked, filled in, and how it ended",
    key=("send_id", "person_id", "record_id"),
    columns={
        column.name: column
        for column in (
            Column("person_id", "bigint", nullable=False, comment="Who"),
            Column("campaign", "text", nullable=False, comment="The campaign's folder name"),
            Column("step", "text", nullable=False, comment="campaign/step"),
            Column("channel", "text", nullable=False, comment="email, form or page"),
            Column(
                "kind",
                "text",
                nullable=False,
                comment="What happened: sent, opened, clicked, form_opened, form_submitted, confirmed, page_seen, "
                "unsubscribed",
            ),
            Column("happened_at", "timestamptz", nullable=False, comment="The moment of the send, or the first time"),
            Column(
                "outcome",
                "text",
                nullable=False,
                comment="Of what was sent: planned, accepted, rejected, unknown or skipped; else happened, or "
                "unconfirmed (a sign-up that waits for its confirmation)",
            ),
            Column("reason", "text", comment="Why it was skipped or rejected"),
            Column(
                "received", "boolean", nullable=False, comment="Counts as received by not_received(): sent mails only"
            ),
            Column("record_id", "bigint", comment="The linked record, e.g. the performance"),
            Column(
                "send_id", "bigint", comment="The send in the ledger; of a form or page the one whose mail led there"
            ),
            Column("submission_id", "bigint", comment="The submission of the form, or the one that the page followed"),
            Column("link", "text", comment="clicked: the first link, as the template has it, or the step it leads to"),
        )
    },
)


def read_catalog(schema_folder: Path) -> Catalog:
    """Read the numbered schema files of a project into a catalogue.

    Raises ProjectError (file, line, remedy) for a file that does not parse or a crm table without
    a primary key.
    """
    tables: dict[str, Table] = {}
    for file in sorted(schema_folder.glob("[0-9]*.sql")):
        try:
            statements = sqlglot.parse(file.read_text(encoding="utf-8"), dialect="postgres")
        except sqlglot.errors.ParseError as error:
            first = error.errors[0] if error.errors else {}
            words = f"this SQL does not parse: {first.get('description', error)}"
            raise ProjectError([Problem(file, first.get("line"), words)]) from error
        except sqlglot.errors.SqlglotError as error:
            raise ProjectError([Problem(file, None, f"this SQL does not parse: {error}")]) from error
        for statement in statements:
            _apply(statement, tables, file)
    tables[CONTACT_MOMENT.name] = CONTACT_MOMENT
    return Catalog(tables)


def _apply(statement: object, tables: dict[str, Table], file: Path) -> None:
    if isinstance(statement, exp.Create) and statement.kind == "TABLE" and isinstance(statement.this, exp.Schema):
        table = _table(statement.this)
        if not table.key:
            words = f"table {table.name} has no primary key"
            raise ProjectError([Problem(file, None, words, "add `primary key (...)`; the mirror needs it")])
        tables[table.name] = table
    elif isinstance(statement, exp.Alter):
        for action in statement.args.get("actions") or ():
            _alter(_name(statement.this), action, tables)
    elif isinstance(statement, exp.Drop) and statement.kind == "TABLE":
        for dropped in _dropped(statement):
            tables.pop(_name(dropped), None)
    elif isinstance(statement, exp.Comment):
        _comment(statement, tables)


def _dropped(drop: exp.Drop) -> list[exp.Expression]:
    """What a drop names: one thing, or a list (it depends on the version of sqlglot)."""
    return [each for each in (drop.this, *(drop.args.get("tables") or ())) if each is not None]


def _alter(name: str, action: exp.Expression, tables: dict[str, Table]) -> None:
    """Follow one action of `alter table`; those that change no column are of no concern here."""
    if name not in tables:
        return
    columns = dict(tables[name].columns)
    if isinstance(action, exp.ColumnDef):
        columns[action.name] = _column(action)
    elif isinstance(action, exp.Drop):
        for dropped in _dropped(action):
            columns.pop(dropped.name, None)
    elif isinstance(action, exp.RenameColumn) and action.this.name in columns:
        old, new = action.this.name, action.args["to"].name
        columns = {new if each == old else each: column for each, column in columns.items()}
        columns[new] = replace(columns[new], name=new)
        key = tuple(new if each == old else each for each in tables[name].key)
        tables[name] = replace(tables[name], key=key)
    elif isinstance(action, exp.AlterColumn) and action.name in columns and action.args.get("dtype"):
        type_ = action.args["dtype"].sql(dialect="postgres").lower()
        columns[action.name] = replace(columns[action.name], type=type_)
    elif isinstance(action, exp.AlterRename):
        # the new name is written without its schema
        schema = name.rpartition(".")[0]
        renamed = f"{schema}.{action.this.name}" if schema else action.this.name
        tables[renamed] = replace(tables.pop(name), name=renamed)
        return
    tables[name] = replace(tables[name], columns=columns)


def _comment(statement: exp.Comment, tables: dict[str, Table]) -> None:
    text = statement.expression.name
    target = statement.this
    if str(statement.args.get("kind")).upper() == "TABLE" and _name(target) in tables:
        tables[_name(target)] = replace(tables[_name(target)], comment=text)
    elif str(statement.args.get("kind")).upper() == "COLUMN" and isinstance(target, exp.Column):
        name = f"{target.args['db'].name}.{target.table}" if target.args.get("db") else target.table
        table = tables.get(name)
        if table and target.name in table.columns:
            column = replace(table.columns[target.name], comment=text)
            tables[name] = replace(table, columns={**table.columns, target.name: column})


def _name(table: exp.Expression) -> str:
    found = table.find(exp.Table) if not isinstance(table, exp.Table) else table
    if found is None:
        return table.sql()
    return f"{found.db}.{found.name}" if found.db else found.name


def _table(schema: exp.Schema) -> Table:
    columns: dict[str, Column] = {}
    key: tuple[str, ...] = ()
    foreign_keys: list[ForeignKey] = []
    for part in schema.expressions:
        if isinstance(part, exp.ColumnDef):
            columns[part.name] = _column(part)
            for constraint in part.constraints:
                if isinstance(constraint.kind, exp.PrimaryKeyColumnConstraint):
                    key = (part.name,)
                elif isinstance(constraint.kind, exp.Reference):
                    foreign_keys.append(_reference(part.name, constraint.kind))
        elif isinstance(part, exp.PrimaryKey):
            key = tuple(column.name for column in part.expressions)
        elif isinstance(part, exp.ForeignKey):
            reference = part.args.get("reference")
            if len(part.expressions) == 1 and isinstance(reference, exp.Reference):
                foreign_keys.append(_reference(part.expressions[0].name, reference))
    columns = {name: replace(column, nullable=column.nullable and name not in key) for name, column in columns.items()}
    return Table(_name(schema), columns, key, tuple(foreign_keys))


def _reference(column: str, reference: exp.Reference) -> ForeignKey:
    schema = reference.this
    targets = schema.expressions if isinstance(schema, exp.Schema) else []
    return ForeignKey(column, _name(schema), targets[0].name if targets else column)


def _column(definition: exp.ColumnDef) -> Column:
    kinds = [constraint.kind for constraint in definition.constraints]
    type_ = definition.args.get("kind")
    return Column(
        name=definition.name,
        type=type_.sql(dialect="postgres").lower() if type_ else "text",
        nullable=not any(
            isinstance(kind, exp.NotNullColumnConstraint) and not kind.args.get("allow_null") for kind in kinds
        ),
        generated=any(
            isinstance(kind, (exp.ComputedColumnConstraint, exp.GeneratedAsIdentityColumnConstraint)) for kind in kinds
        ),
        has_default=any(isinstance(kind, exp.DefaultColumnConstraint) for kind in kinds),
        expression=next(
            (
                kind.this.sql(dialect="postgres")
                for kind in kinds
                if isinstance(kind, (exp.ComputedColumnConstraint, exp.DefaultColumnConstraint))
            ),
            None,
        ),
    )
