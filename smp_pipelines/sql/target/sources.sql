-- Postgres. Where the people of a frozen group come from.
select source, count(*) filter (where linked), count(*) filter (where not linked)
from smp.target_member
where step = %(step)s
group by source
order by min(since), source
