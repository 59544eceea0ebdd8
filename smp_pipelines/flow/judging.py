"""Judging: which of these people meet a condition at this moment, asked of the lake in one query."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd

from smp_pipelines.problems import SmpError
from smp_pipelines.selection.condition import Condition
from smp_pipelines.stores.lake import Lake, words_of
from smp_pipelines.stores.numbers import Query, copy_in, copy_out
from smp_pipelines.stores.postgres import Connection


class Judge(Protocol):
    """Whoever can tell who meets a condition."""

    def fill(self, connection: Connection, condition: Condition, now: datetime, people: Query) -> None:
        """Put those of these people who meet the condition at `now` into flow_yes, and nobody else.

        people: an SQL query over Postgres that gives person_id; it may name somebody twice.
        """


class LakeJudge:
    """Asks the lake, after its copy of the tables that the condition reads was brought up to date."""

    def __init__(self, lake: Lake, zone: ZoneInfo, refresh: Callable[[Iterable[str]], None]) -> None:
        self._lake = lake
        self._zone = zone
        self._refresh = refresh

    def fill(self, connection: Connection, condition: Condition, now: datetime, people: Query) -> None:
        """As Judge has it. Raises SmpError when the condition cannot be evaluated."""
        connection.execute("truncate flow_yes")
        asked = copy_out(connection, people)
        if not len(asked):
            return
        self._refresh(condition.reads)
        met = condition.at(now, self._zone)  # checked when it was frozen, like every selection
        query = f"select distinct person_id::bigint as person_id from ({met}) semi join asked using (person_id)"  # noqa: S608
        with self._lake.open_for_selections() as lake:
            lake.register("asked_numbers", pd.DataFrame({"person_id": asked}))
            lake.execute("create temp table asked as from asked_numbers")
            try:
                found = lake.execute(query).fetchnumpy()["person_id"]
            except duckdb.Error as error:
                raise SmpError(f"a condition of a flow cannot be evaluated: {words_of(error)}") from None
        copy_in(connection, "flow_yes (person_id)", np.asarray(found, dtype=np.int64))
