-- Postgres. The audit of a frozen group, the latest change first, with how many people each linked and unlinked.
select
    c.changed_at, c.changed_by, c.source, c.reason,
    count(*) filter (where m.linked), count(*) filter (where not m.linked)
from (select * from smp.target_change where step = %(step)s order by change_id desc limit %(limit)s) as c
join smp.target_change_member as m using (change_id)
group by c.change_id, c.changed_at, c.changed_by, c.source, c.reason
order by c.change_id desc
