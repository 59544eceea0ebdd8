"""Phrases: what the public pages say, in the project's language. Dutch, and English for every other language."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from babel.dates import format_datetime

from smp_pipelines.campaign.models import Project
from smp_pipelines.sending.decisions import Decision

NL = {
    "lang": "nl",
    "approve": "Goedkeuren",
    "block": "Blokkeren",
    "about": "Over",
    "mail": "Mail",
    "now": "Nu",
    "is_blocked": "Geblokkeerd: deze mail wordt niet verstuurd",
    "is_open": "Niet geblokkeerd: deze mail wordt verstuurd zoals gepland",
    "latest_approved": "Goedgekeurd door {who}, {when}",
    "latest_blocked": "Geblokkeerd door {who}, {when}",
    "ask_approve": "Deze mail goedkeuren?",
    "ask_block": "Deze mail blokkeren?",
    "will_approve": "Uw goedkeuring wordt genoteerd. De mail wordt verstuurd zoals gepland.",
    "will_unblock": "De blokkade wordt opgeheven. De mail wordt daarna weer verstuurd zoals gepland.",
    "will_keep": "Uw goedkeuring wordt genoteerd, maar de mail blijft geblokkeerd: een collega heeft dat in het CRM "
    "zelf aangevinkt. Alleen daar kan het vinkje weer uit.",
    "will_block": "De mail over “{title}” wordt aan niemand meer verstuurd, ook niet als het versturen al bezig is. "
    "Wat al weg is, komt niet terug.",
    "will_stay": "Deze mail was al geblokkeerd en blijft dat.",
    "no_block": "Deze stap heeft geen vinkje om te blokkeren. Zet de stap zelf stil als de mail niet weg mag.",
    "done_approved": "Goedgekeurd",
    "done_blocked": "Geblokkeerd",
    "done_kept": "Goedgekeurd, maar nog geblokkeerd",
    "will_keep_after": "Een collega heeft de blokkade in het CRM zelf aangevinkt. Alleen daar kan het vinkje weer uit.",
    "back_to_block": "Toch niet goed? Blokkeer deze mail",
    "back_to_approve": "Toch goed? Hef de blokkade op",
    "nothing_yet": "Er is nog niets veranderd.",
    "unsubscribe": "Afmelden",
    "ask_unsubscribe": "Geen e-mail meer over dit onderwerp?",
    "will_unsubscribe": "U krijgt dan geen e-mail meer van {sender} over:",
    "everything": "alle onderwerpen",
    "one_address": "Delen meer mensen uw e-mailadres? Dan geldt dit voor iedereen op dat adres.",
    "done_unsubscribed": "U bent afgemeld",
    "you_get_no": "U krijgt geen e-mail meer van {sender} over:",
    "on_its_way": "Een mail die al onderweg is, kan nog aankomen.",
    "mistake": "Was het een vergissing? Laat het ons weten via {address}.",
    "wording": "Afgemeld met de link in een mail: geen e-mail meer over {names}",
    "and": "en",
    "bad_link": "Deze link werkt niet",
    "bad_link_words": "Er ontbreekt misschien een stukje. Open de link opnieuw vanuit de mail, of kopieer hem daar in "
    "zijn geheel.",
    "gone_record": "Niet meer te vinden",
    "gone_record_words": "Wat bij deze link hoort staat niet meer in het CRM. Er is niets veranderd, en er wordt "
    "niets over verstuurd.",
    "gone_mail": "Niet meer te vinden",
    "gone_mail_words": "De mail bij deze link kennen wij niet meer. Wilt u geen e-mail meer? Beantwoord dan een van "
    "onze mails, dan regelen wij het.",
    "bad_request": "Dat is niet gelukt",
    "bad_request_words": "Open de link opnieuw vanuit de mail en gebruik de knop op de pagina.",
    "away": "Even niet beschikbaar",
    "away_words": "Er is niets veranderd. Probeer het over een paar minuten nog eens.",
    "nothing_here": "Hier is niets te vinden",
    "nothing_here_words": "Links uit onze mails werken alleen in hun geheel.",
    "redirect_now": "U gaat nu door naar",
    "redirect_soon": "Over {seconds} seconden gaat u vanzelf door naar",
    "redirect_soon_one": "Over één seconde gaat u vanzelf door naar",
    "not_open": "Hier is nog niets te zien",
    "not_open_words": "Deze pagina is nog niet open. Kom later nog eens terug.",
    "step_stopped": "Deze pagina is gesloten",
    "step_stopped_words": "Wat hier stond, is afgelopen.",
    "needs_link": "Dit formulier opent met een persoonlijke link",
    "needs_link_words": "Gebruik de link uit de mail die u van ons kreeg. Zonder die link weten wij niet wie u bent.",
    "expired_link": "Deze link is verlopen",
    "expired_link_words": "Uit voorzorg werkt een persoonlijke link niet voor altijd. In onze nieuwste mail staat een "
    "link die nog werkt.",
    "gone_person": "Niet meer te vinden",
    "gone_person_words": "Bij deze link hoort niemand meer in onze administratie. Er is niets bewaard.",
    "from_elsewhere": "Dit is niet van onze eigen pagina verstuurd",
    "from_elsewhere_words": "Er is niets bewaard. Open de pagina zelf, en verstuur het formulier daar.",
    "too_large": "Dat was te veel",
    "too_large_words": "Wat u verstuurde, is langer dan dit formulier aankan. Er is niets bewaard; ga terug en maak de "
    "antwoorden korter.",
    "stored": "Dank u wel",
    "stored_words": "Uw antwoorden zijn bewaard.",
    "error_title": "Nog niet goed: {title}",
    "ask_confirm": "Bevestigt u dit?",
    "ask_confirm_words": "U geeft hiermee toestemming aan {sender} voor:",
    "ask_confirm_plain": "U bevestigt hiermee wat u bij {sender} heeft ingevuld.",
    "confirm": "Ja, ik bevestig dit",
    "confirmed": "Bevestigd",
    "confirmed_words": "Dank u wel. Uw bevestiging is bewaard.",
    "ask_again": "Deze pagina stond lang open. Druk nog een keer op de knop.",
    "nothing_to_confirm": "Er is niets te bevestigen",
    "nothing_to_confirm_words": "Wat bij deze link hoort, is er niet meer. Vul het formulier gerust nog eens in.",
}
"""Dutch: the language of the people who use this most."""

EN = {
    "lang": "en",
    "approve": "Approve",
    "block": "Block",
    "about": "About",
    "mail": "Mail",
    "now": "Now",
    "is_blocked": "Blocked: this mail is not sent",
    "is_open": "Not blocked: this mail is sent as planned",
    "latest_approved": "Approved by {who}, {when}",
    "latest_blocked": "Blocked by {who}, {when}",
    "ask_approve": "Approve this mail?",
    "ask_block": "Block this mail?",
    "will_approve": "Your approval is written down. The mail is sent as planned.",
    "will_unblock": "The block is taken away. After that the mail is sent as planned.",
    "will_keep": "Your approval is written down, but the mail stays blocked: a colleague ticked that in the CRM "
    "itself. Only there can it be unticked.",
    "will_block": "The mail about “{title}” is sent to nobody any more, also when it is being sent at this moment. "
    "What has left does not come back.",
    "will_stay": "This mail was blocked already and stays so.",
    "no_block": "This step has no tick to block with. Stop the step itself if the mail must not leave.",
    "done_approved": "Approved",
    "done_blocked": "Blocked",
    "done_kept": "Approved, but still blocked",
    "will_keep_after": "A colleague ticked the block in the CRM itself. Only there can it be unticked.",
    "back_to_block": "Not right after all? Block this mail",
    "back_to_approve": "Right after all? Take the block away",
    "nothing_yet": "Nothing has changed yet.",
    "unsubscribe": "Unsubscribe",
    "ask_unsubscribe": "No more e-mail about this topic?",
    "will_unsubscribe": "You will get no more e-mail from {sender} about:",
    "everything": "all topics",
    "one_address": "Do more people share your e-mail address? Then this is for everybody at that address.",
    "done_unsubscribed": "You are unsubscribed",
    "you_get_no": "You get no more e-mail from {sender} about:",
    "on_its_way": "A mail that is on its way already may still arrive.",
    "mistake": "Was it a mistake? Tell us at {address}.",
    "wording": "Unsubscribed with the link in a mail: no more e-mail about {names}",
    "and": "and",
    "bad_link": "This link does not work",
    "bad_link_words": "A part may be missing. Open the link from the mail again, or copy it from there as a whole.",
    "gone_record": "No longer here",
    "gone_record_words": "What this link is about is no longer in the CRM. Nothing was changed, and nothing is sent "
    "about it.",
    "gone_mail": "No longer here",
    "gone_mail_words": "We no longer know the mail of this link. Do you want no more e-mail? Answer one of our mails, "
    "and we will see to it.",
    "bad_request": "That did not work",
    "bad_request_words": "Open the link from the mail again and use the button on the page.",
    "away": "Not available now",
    "away_words": "Nothing was changed. Try again in a few minutes.",
    "nothing_here": "There is nothing here",
    "nothing_here_words": "Links in our mails work as a whole only.",
    "redirect_now": "You are on your way to",
    "redirect_soon": "In {seconds} seconds you are taken to",
    "redirect_soon_one": "In one second you are taken to",
    "not_open": "There is nothing to see here yet",
    "not_open_words": "This page is not open yet. Come back later.",
    "step_stopped": "This page is closed",
    "step_stopped_words": "What was here is over.",
    "needs_link": "This form opens with a personal link",
    "needs_link_words": "Use the link in the mail that you got from us. Without it we do not know who you are.",
    "expired_link": "This link has expired",
    "expired_link_words": "To be safe, a personal link does not work for ever. Our latest mail has one that "
    "still works.",
    "gone_person": "No longer here",
    "gone_person_words": "Nobody in our records belongs to this link any more. Nothing was stored.",
    "from_elsewhere": "This was not sent from our own page",
    "from_elsewhere_words": "Nothing was stored. Open the page itself, and send the form there.",
    "too_large": "That was too much",
    "too_large_words": "What you sent is longer than this form can take. Nothing was stored; go back and shorten the "
    "answers.",
    "stored": "Thank you",
    "stored_words": "Your answers are stored.",
    "error_title": "Not right yet: {title}",
    "ask_confirm": "Do you confirm this?",
    "ask_confirm_words": "By this you allow {sender}:",
    "ask_confirm_plain": "By this you confirm what you filled in for {sender}.",
    "confirm": "Yes, I confirm this",
    "confirmed": "Confirmed",
    "confirmed_words": "Thank you. Your confirmation is stored.",
    "ask_again": "This page was open for a long time. Press the button once more.",
    "nothing_to_confirm": "There is nothing to confirm",
    "nothing_to_confirm_words": "What this link is about is no longer there. Feel free to fill in the form again.",
}
"""English."""

Phrases = Mapping[str, str]


def phrases(project: Project | None) -> Phrases:
    """The phrases for a project; Dutch while its settings cannot be read."""
    return NL if project is None else phrases_in(project.language)


def phrases_in(language: str) -> Phrases:
    """The phrases in a language, e.g. nl or nl_BE."""
    return NL if language.partition("_")[0] == "nl" else EN


def decision_words(said: Phrases, decision: Decision, project: Project) -> str:
    """Who decided what and when, in local time: Geblokkeerd door Anna Adema, dinsdag 3 november 2026, 09:00."""
    when = moment_in_words(said, decision.decided_at, project)
    return said[f"latest_{decision.decision}"].format(who=decision.decided_by, when=when)


def moment_in_words(said: Phrases, moment: datetime, project: Project) -> str:
    """An aware moment in local time: dinsdag 3 november 2026, 09:00."""
    return format_datetime(moment.astimezone(project.zone), "EEEE d MMMM yyyy, HH:mm", locale=said["lang"])


def names_in_words(said: Phrases, names: list[str]) -> str:
    """Names as a list in a sentence; of no names, everything."""
    if not names:
        return said["everything"]
    return f" {said['and']} ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
