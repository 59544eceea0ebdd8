-- Postgres. Numbers below 0 that nobody has, and keys that nobody has: no row gets in another's way while they move.
update smp.participant as p
set round = -1 - m.round,
    entry_key = case when m.same_event then p.entry_key || '#' || p.participant_id else p.entry_key end
from smp_merge_participant as m
where m.participant_id = p.participant_id
