"""Words: what a form says by itself, beside the labels of its file. Dutch, and English for every other language."""

from __future__ import annotations

from collections.abc import Mapping

NL = {
    "lang": "nl",
    "required": "verplicht",
    "no_answer": "Geen antwoord",
    "choose": "Kies …",
    "summary_one": "Er is één antwoord dat nog niet klopt",
    "summary_many": "Er zijn {count} antwoorden die nog niet kloppen",
    "leave_empty": "Laat dit veld leeg",
    "missing": "Dit is nog niet ingevuld",
    "missing_choice": "Kies een van de antwoorden",
    "missing_tick": "Zet hier een vinkje om verder te gaan",
    "too_long": "Dit is te lang: schrijf ten hoogste {most} tekens. Het zijn er nu {count}",
    "email": "Dit is geen e-mailadres. Schrijf het zoals naam@voorbeeld.nl",
    "phone": "Dit is geen telefoonnummer. Schrijf het zoals 06 12345678, of met het landnummer: +32 470 12 34 56",
    "postal_code": "Dit is geen Nederlandse postcode. Schrijf vier cijfers en twee letters, zoals 1234 AB",
    "date": "Dit is geen datum. Schrijf dag, maand en jaar, zoals 31-12-1990",
    "number": "Dit is geen getal. Schrijf alleen cijfers, zoals 2 of 2,5",
    "whole_number": "Dit is geen heel getal. Schrijf alleen cijfers, zoals 2",
    "decimals": "Dit heeft te veel cijfers achter de komma: schrijf er ten hoogste {most}",
    "too_small": "Dit is te weinig: {limit} of meer",
    "too_large": "Dit is te veel: {limit} of minder",
    "too_early": "Deze datum is te vroeg: {limit} of later",
    "too_late": "Deze datum is te laat: {limit} of eerder",
    "choice": "Dit antwoord kan niet worden gekozen",
    "ticket_missing": "Wij konden niet zien dat dit formulier van ons komt. Uw antwoorden staan er nog; "
    "verstuur het nog eens.",
    "ticket_old": "Dit formulier stond lang open. Uw antwoorden staan er nog; kijk ze even na en verstuur "
    "het nog eens.",
    "too_many": "Dit formulier is vanaf uw verbinding erg vaak verstuurd. Uw antwoorden staan er nog; "
    "probeer het over {minutes} nog eens.",
    "one_minute": "een minuut",
    "minutes": "{count} minuten",
}
"""Dutch."""

EN = {
    "lang": "en",
    "required": "required",
    "no_answer": "No answer",
    "choose": "Choose …",
    "summary_one": "One answer is not right yet",
    "summary_many": "{count} answers are not right yet",
    "leave_empty": "Leave this field empty",
    "missing": "This is not filled in yet",
    "missing_choice": "Choose one of the answers",
    "missing_tick": "Tick this to go on",
    "too_long": "This is too long: write at most {most} characters. There are {count} now",
    "email": "This is not an e-mail address. Write it like name@example.org",
    "phone": "This is not a phone number. Write it like 06 12345678, or with the country: +32 470 12 34 56",
    "postal_code": "This is not a Dutch postal code. Write four digits and two letters, like 1234 AB",
    "date": "This is not a date. Write day, month and year, like 31-12-1990",
    "number": "This is not a number. Write digits only, like 2 or 2.5",
    "whole_number": "This is not a whole number. Write digits only, like 2",
    "decimals": "This has too many digits after the point: write at most {most}",
    "too_small": "This is too little: {limit} or more",
    "too_large": "This is too much: {limit} or less",
    "too_early": "This date is too early: {limit} or later",
    "too_late": "This date is too late: {limit} or earlier",
    "choice": "This answer cannot be chosen",
    "ticket_missing": "We could not see that this form is one of ours. Your answers are still there; send it again.",
    "ticket_old": "This form was open for a long time. Your answers are still there; look them over and send it again.",
    "too_many": "This form was sent very often from your connection. Your answers are still there; "
    "try again in {minutes}.",
    "one_minute": "a minute",
    "minutes": "{count} minutes",
}
"""English."""

Words = Mapping[str, str]


def words(language: str) -> Words:
    """What a form says in a language, e.g. nl or nl_BE."""
    return NL if language.split("_")[0] == "nl" else EN


def minutes(said: Words, seconds: int) -> str:
    """A wait in words, in whole minutes."""
    count = -(-seconds // 60)
    return said["one_minute"] if count <= 1 else said["minutes"].format(count=count)
