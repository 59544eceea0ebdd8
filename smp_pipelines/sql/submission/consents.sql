-- Yes and no of submissions that this transaction stored or confirmed. A yes that waits for its confirmation is none
-- yet; of somebody who came by a personal link what changes is written, so that an empty tick is a no to
-- what was allowed; on a shareable URL an empty tick says nothing. confirmed_at: null, or
-- the moment of the confirmation.
with said as (
    select distinct on (s.person_id, c.topic) s.person_id, s.form, s.identified, s.submitted_at, c.*
    from smp.submission as s
    cross join lateral jsonb_to_recordset(s.consents) as c (topic text, granted boolean, wording text)
    where s.submission_key = any (%(keys)s)
      and s.changed_tx = pg_current_xact_id()
      and case when %(confirmed_at)s::timestamptz is null
          then not (c.granted and s.awaits_confirmation)
          else c.granted and s.awaits_confirmation
      end
    order by s.person_id, c.topic, s.submission_id desc
)
insert into crm.consent as present (person_id, channel, topic, granted, changed_at, source, wording)
select
    said.person_id, 'email', said.topic, said.granted, coalesce(%(confirmed_at)s, said.submitted_at),
    case when %(confirmed_at)s::timestamptz is null then 'form ' || said.form else 'double_opt_in' end, said.wording
from said
join crm.person as p using (person_id)
left join crm.consent as before
    on before.person_id = said.person_id and before.channel = 'email' and before.topic = said.topic
where case
    when said.identified = 'link'
        then said.granted <> coalesce(before.granted, said.topic = any (%(opt_out)s))
    else said.granted
end
order by said.person_id, said.topic
on conflict (person_id, channel, topic) do update
set granted = excluded.granted, changed_at = excluded.changed_at, source = excluded.source,
    wording = excluded.wording
where present.granted is distinct from excluded.granted
