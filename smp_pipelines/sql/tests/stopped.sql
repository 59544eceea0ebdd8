-- Postgres. Of these sends, those that an audience test stopped or that were opened to take the place of a stopped one.
select
    s.send_id,
    (
        select string_agg(distinct format('%%s (%%s, %%s)', t.words, t.selection, t.test), '; ')
        from smp.audience_stop as t where t.send_id = s.send_id
    ) as stopped_by,
    o.new_send_id,
    o.overruled_by,
    f.send_id as instead_of,
    f.overruled_by as let_go_by,
    f.reason
from smp.send as s
left join smp.audience_overrule as o on o.send_id = s.send_id
left join smp.audience_overrule as f on f.new_send_id = s.send_id
where s.send_id = any (%(sends)s)
  and (f.send_id is not null or exists (select from smp.audience_stop as t where t.send_id = s.send_id))
order by s.send_id desc
