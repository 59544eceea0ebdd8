"""Crowds: two flows with every kind of step, and many people to whom a lot happens, by dice.

Stories that hypothesis makes are small and odd; these are dense, so that what is rare per person is there each time.
"""

from __future__ import annotations

import random
from typing import Any

from tests.support.flow_crm import Person
from tests.support.flows import CITIES, FORMS, MAILS, OFTEN, PAGE, SELDOM, STARTS, Story, Tick

_CROWD = range(1, 31)
_FIRST: dict[str, Any] = {
    "name": "Every kind",
    "triggers": [{"type": "list", "list": "friends", "again": True}, {"type": "donation", "min": 20}],
    "exclude": {"gave_to": "youth"},
    "reentry": {"after": "1 day"},
    "goals": [{"type": "click", "step": MAILS[0]}, {"type": "form", "step": FORMS[1]}],
    "on_success": {"move_to": "second"},
    "hours": {"from": "01:30", "until": "22:00"},
    "steps": {
        "day": {"wait": "1 day"},
        "hello": {"mail": MAILS[0]},
        "town": {
            "if": {"city": "a"},
            "then": {"survey": {"form": FORMS[0], "at_most": "2 days"}, "skip": {"go_to": "listed"}},
            "else": {
                "dice": {
                    "split": [
                        {"percent": 40, "steps": {"seen": {"page": PAGE, "at_most": "1 day"}}},
                        {"percent": 30, "steps": {"away": {"move_to": "second"}}},
                        {"percent": 30, "steps": {"moved": {"update": {"city": "a"}}, "soon": {"wait": "90 minutes"}}},
                    ]
                }
            },
        },
        "story": {"mail": MAILS[1], "refused": "leave"},
        "listed": {"add_to_list": "guests"},
        "night": {"window": {"days": ["sun", "mon"], "from": "23:30", "until": "02:30"}},
        "again": {"mail": MAILS[0]},
    },
}
_SECOND: dict[str, Any] = {
    "name": "More of it",
    "triggers": [{"type": "form", "step": FORMS[0]}, {"type": "list", "list": "guests"}],
    "filter": {"not": {"city": "b"}},
    "reentry": "after_leaving",
    "goals": [{"type": "person", "where": {"gave_to": "flow"}}, {"type": "list", "list": "friends"}],
    "steps": {
        "off": {"remove_from_list": "friends"},
        "week": {"wait_until": "2026-03-29 02:30"},
        "rest": {"wait": "1 day"},
        "gift": {"create": {"table": "donation", "values": {"fund": "flow", "amount": 5}}},
        "pause": {"wait": "30 minutes"},
        "thanked": {"end": "thanked"},
    },
}


def crowd(seed: int) -> Story:
    """A dense story; the same for the same seed."""
    dice = random.Random(seed)
    people = {number: Person(dice.choice((*CITIES, None)), f"p{number}@example.org") for number in _CROWD}
    strides = [15, *(dice.choice([15, 60, 100, 240, 300, 700, 1440, 1500]) for _ in range(11))]
    ticks = []
    for stride in strides:
        events = []
        for _ in range(dice.randint(10, 30)):
            kind, said = dice.choice((*OFTEN, *OFTEN, *(each for each in SELDOM if each[0] != "turn")))
            events.append((kind, dice.choice(_CROWD), said, 60 * dice.randint(0, 90) + dice.randint(3, 59)))
        ticks.append(Tick(stride, tuple(events)))
    flows = {"first": _FIRST, "second": _SECOND}
    return Story(flows, flows, people, STARTS[seed % 2], tuple(ticks))
