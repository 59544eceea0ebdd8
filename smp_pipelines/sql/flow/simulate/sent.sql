-- Postgres. What the outbox of a simulation holds anew is sent, or stopped by the frequency cap: mails in the days of the
-- cap, of the past and of the simulation. send_id 0: sent.
with fresh as (
    select event_id, person_id, row_number() over (partition by person_id order by event_id) as nth
    from trigger_event
    where send_id is null and missed is null and step <> all (%(exempt)s::text[])
),
counted as (
    select
        f.event_id,
        f.nth
        + (select count(*) from flow_past_mail as m where m.person_id = f.person_id and m.moment > %(since)s and m.moment <= %(now)s)
        + (
            select count(*) from trigger_event as e
            where e.person_id = f.person_id and e.happened_at > %(since)s and e.send_id = 0 and e.step <> all (%(exempt)s::text[])
        ) as mails
    from fresh as f
)
update trigger_event as e
set send_id = case when coalesce(c.mails > %(most)s, false) then null else 0 end,
    missed = case when c.mails > %(most)s then 'frequency_cap' end
from trigger_event as t
left join counted as c using (event_id)
where e.event_id = t.event_id and t.send_id is null and t.missed is null
