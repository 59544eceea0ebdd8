"""The inbox of a deployment, read as its index file has it: whose mails are there, while it runs and after."""

from __future__ import annotations

import json
from pathlib import Path


def recipients(home: Path) -> list[str]:
    """The recipients of the mails that the catcher of this state folder took, in the order of their coming."""
    index = home / "inbox" / "index.jsonl"
    if not index.exists():
        return []
    whole_lines = index.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    return [recipient.lower() for line in whole_lines for recipient in json.loads(line)["recipients"]]
