-- Who said no by the link in a mail of this step.
select
    s.person_id,
    {record}::bigint as record_id,
    {key} as entry_key,
    s.happened_at
from (select *, null::bigint as submission_id from smp.unsubscription) as s
join smp.send as m on m.send_id = s.send_id and m.purpose = 'live'
where s.step = %(step)s and {fresh}
