"""Make transactions.txt.gz from CDNOW_master.txt: `python pack.py lifetimes/datasets/CDNOW_master.txt`.

The same input gives the same bytes. The numbers stand column by column, which packs them a third smaller than rows.
"""

from __future__ import annotations

import gzip
import sys
from collections import Counter
from datetime import date, datetime
from pathlib import Path

FIRST_DAY = date(1997, 1, 1)
PACKED = Path(__file__).with_name("transactions.txt.gz")


def main(source: Path) -> None:
    """Read the rows of the source (customer, yyyymmdd, CDs, dollars) and write the packed file."""
    rows = [line.split() for line in source.read_text(encoding="ascii").splitlines()[1:] if line.strip()]
    a_customer = Counter(int(row[0]) for row in rows)
    if list(a_customer) != list(range(1, len(a_customer) + 1)):
        raise SystemExit("the customers are not numbered from 1, in order")
    days = [(datetime.strptime(row[1], "%Y%m%d").date() - FIRST_DAY).days for row in rows]  # noqa: DTZ007
    columns = (a_customer.values(), days, (int(row[2]) for row in rows), (round(float(row[3]) * 100) for row in rows))
    text = "".join(" ".join(map(str, column)) + "\n" for column in columns)
    PACKED.write_bytes(gzip.compress(text.encode("ascii"), 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
