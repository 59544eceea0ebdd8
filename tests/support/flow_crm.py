"""What the reference interpreter knows of people: a small CRM in plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

TOPICS = {"open_house/confirmation": ("service", "opt_out"), "friends/story": ("offers", "opt_in")}
"""Mails of the sample project, with what they are about and whether that needs a yes."""


@dataclass
class Person:
    """A person card."""

    city: str | None = None
    email: str | None = None
    blocked: bool = False


class Donation(NamedTuple):
    """Money that somebody gave, in whole units."""

    number: str
    person: int
    fund: str
    amount: int
    at: datetime


class Mail(NamedTuple):
    """A row of the outbox."""

    flow: str
    person: int
    round: int
    node: int
    record: int | None
    step: str
    at: datetime


Seen = tuple[tuple[str, int], datetime]
"""What somebody did on the site: the step, the person and the moment."""


@dataclass
class Crm:
    """People, and what they did."""

    people: dict[int, Person] = field(default_factory=dict)
    lists: dict[str, dict[int, datetime]] = field(default_factory=dict)
    donations: list[Donation] = field(default_factory=list)
    submitted: list[Seen] = field(default_factory=list)
    pages_seen: list[Seen] = field(default_factory=list)
    clicked: list[Seen] = field(default_factory=list)
    consents: dict[tuple[int, str], bool] = field(default_factory=dict)
    suppressed: set[str] = field(default_factory=set)
    outbox: list[Mail] = field(default_factory=list)
    waiting: list[Mail] = field(default_factory=list)

    def unfit(self, person: int) -> str | None:
        """Why nobody may do anything with a person at all."""
        if person not in self.people:
            return "person_gone"
        return "person_blocked" if self.people[person].blocked else None

    def holds(self, condition: Mapping[str, Any], person: int) -> bool:
        """Whether somebody who is there meets a condition."""
        if person not in self.people:
            return False
        (kind, said), *_ = condition.items()
        if kind == "not":
            return not self.holds(said, person)
        if kind == "city":
            return bool(self.people[person].city == said)
        if kind == "on_list":
            return person in self.lists.get(said, {})
        assert kind == "gave_to"
        return any(gift.person == person and gift.fund == said for gift in self.donations)

    def refuses(self, person: int, step: str) -> str | None:
        """Why somebody who is there gets no mail of a step."""
        address = (self.people[person].email or "").strip().lower()
        topic, rule = TOPICS[step]
        granted = self.consents.get((person, topic))
        if not address:
            return "no_address"
        if "@" not in address:
            return "broken_address"
        if address in self.suppressed:
            return "suppressed"
        if granted is False:
            return "opted_out"
        if granted is None and rule == "opt_in":
            return "no_consent"
        return "already" if any((mail.person, mail.step) == (person, step) for mail in self.waiting) else None

    def send(self, flow: str, person: int, turn: int, node: int, record: int | None, step: str, now: datetime) -> None:
        """Put a mail in the outbox."""
        mail = Mail(flow, person, turn, node, record, step, now)
        self.outbox.append(mail)
        self.waiting.append(mail)

    def create(self, table: str, person: int, values: Mapping[str, Any], now: datetime) -> None:
        """Write a row for somebody: gifts only."""
        assert table == "donation"
        made = [gift for gift in self.donations if gift.person == person and gift.at == now]
        number = f"{person}/{now.isoformat()}/{len(made) + 1}"
        self.donations.append(Donation(number, person, values["fund"], values["amount"], now))

    def remove(self, person: int) -> None:
        """Delete a person, with what hangs on the card."""
        self.people.pop(person, None)
        for members in self.lists.values():
            members.pop(person, None)
        self.donations = [gift for gift in self.donations if gift.person != person]
        self.consents = {key: granted for key, granted in self.consents.items() if key[0] != person}

    def is_met(self, goal: Mapping[str, Any], person: int, since: datetime) -> bool:
        """Whether something that counts as success happened to somebody since then."""
        if goal["type"] == "person":
            return self.holds(goal["where"], person)
        return any(who == person and at >= since for _key, who, _record, at in self.events(goal))

    def events(self, source: Mapping[str, Any]) -> list[tuple[str, int, int | None, datetime]]:
        """What happened that a trigger or a goal is about: key, person, record, moment."""
        match source["type"]:
            case "list":
                members = self.lists.get(source["list"], {})
                return [(f"list:{source['list']}{_again(source, at)}", who, None, at) for who, at in members.items()]
            case "donation":
                return [
                    (f"record:donation:{gift.number}", gift.person, None, gift.at)
                    for gift in self.donations
                    if source.get("fund") in (None, gift.fund)
                    and source.get("min", 0) <= gift.amount <= source.get("max", 10**9)
                ]
            case "form":
                done = [each for each in enumerate(self.submitted, 1) if each[1][0][0] == source["step"]]
                return [(f"form:{number}", who, None, at) for number, ((_step, who), at) in done]
        assert source["type"] == "click"
        clicks = [each for each in self.clicked if each[0][0] == source["step"]]
        return [(f"click:{source['step']}:*", who, None, at) for (_step, who), at in clicks]


def _again(source: Mapping[str, Any], at: datetime) -> str:
    return f":{round(at.timestamp() * 1_000_000)}" if source.get("again") else ""
