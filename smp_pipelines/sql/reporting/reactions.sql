-- Postgres. The reactions of everybody who has a new hit, submission or unsubscription since the watermark, person by
-- person; somebody without any (left: they are under another key now) has one row without a kind. `offset 0` keeps each look-up by person to itself.
with changed as (
    select person_id from smp.hit where changed_tx >= {watermark}::xid8 and person_id is not null
    union
    select person_id from smp.submission where changed_tx >= {watermark}::xid8
    union
    select person_id from smp.unsubscription where changed_tx >= {watermark}::xid8
    union
    select old_id from smp.person_merge where changed_tx >= {watermark}::xid8
)
select
    c.person_id, r.step, split_part(r.step, '/', 1) as campaign, r.channel, r.kind, r.happened_at, r.outcome,
    r.record_id, r.send_id, r.submission_id, r.link, r.hits
from changed as c
left join lateral (select * from smp.reaction as r where r.person_id = c.person_id offset 0) as r on true
