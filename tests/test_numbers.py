"""Columns of whole numbers between Postgres and memory."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

from smp_pipelines.stores.numbers import copy_in, copy_out


@pytest.mark.parametrize("count", [0, 1, 65_536, 65_537])
def test_numbers_come_back_as_they_went(postgres_url: str, count: int) -> None:
    given = np.arange(count, dtype=np.int64) * 3 - 2**62
    with psycopg.connect(postgres_url) as connection:
        connection.execute("create temporary table given (number bigint not null)")
        copy_in(connection, "given (number)", given)
        assert connection.execute("select count(*), min(number) from given").fetchone() == (
            count,
            -(2**62) if count else None,
        )
        assert np.array_equal(copy_out(connection, "select number from given order by number"), given)
