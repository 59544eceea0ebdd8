"""Addresses: which e-mail addresses cannot exist, by one rule for planning, the claim and the suppression list.

The rule is a pattern that DuckDB (RE2), Postgres and Python read alike: the characters are spelt out,
since each of them knows other classes, and Postgres's depend on the locale. It is judged on the
compared address (trimmed, lower case). Three lengths go with it, judged in SQL beside the pattern, for
bounded repeats make Postgres's patterns ten times slower: 254 bytes in all, 64 bytes before the @,
63 characters a label (RFC 5321, RFC 1035).
"""

from __future__ import annotations

# What nobody can see or type on purpose: control characters, spaces of every width, soft hyphens, marks of
# direction, what joins or separates invisibly, private and replacement characters. Mostly they come from pasting.
_UNSEEN = (
    "\x01-\x20\x7f-\xa0\xad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000"
    "\ue000-\uf8ff\ufeff\ufff9-\uffff\U000e0000-\U0010ffff"
)
# Before the @: no quotes either. By the letter quoted names may exist; no mailbox in daily use has one.
_LETTER = rf"[^{_UNSEEN}@<>(),;:\"\\\[\].]"
# After the @ only letters, digits and hyphens of ASCII, and whatever can be seen beyond it (müller.example).
_OUTER = rf"[^{_UNSEEN}!-/:-@\[-`{{-~]"
_INNER = rf"[^{_UNSEEN}!-,./:-@\[-`{{-~]"
_FIRST_OF_LAST = rf"[^{_UNSEEN}!-@\[-`{{-~]"

PATTERN = rf"^{_LETTER}+(\.{_LETTER}+)*@({_OUTER}({_INNER}*{_OUTER})?\.)+{_FIRST_OF_LAST}{_INNER}*{_OUTER}$"
"""One address: a name without empty parts, and a domain of two labels or more.

The last label begins with a letter and has two characters or more: no domain ends in a number.
"""

PLAIN = r"^[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]$"
"""What nearly every address looks like, and never one that cannot exist: Postgres knows it fifty times sooner."""

RULE = {"address": PATTERN, "long_label": r"@.*[^.]{64}"}
"""The parameters of every statement that judges addresses."""

POSTGRES_RULE = RULE | {"plain": PLAIN}
"""The same for statements in Postgres, which look at the plain pattern first."""
