-- What visitors submitted at a form step; that of test mails is nobody's.
select
    s.person_id,
    {record}::bigint as record_id,
    {key} as entry_key,
    {moment} as happened_at
from smp.submission as s
left join smp.send as m on m.send_id = s.send_id
where s.step = %(step)s and coalesce(m.purpose, 'live') = 'live' and {moment} is not null and {fresh}
