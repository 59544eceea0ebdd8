-- Colleagues by name, with the moment of their latest sign-in.
select
    c.name, c.address, c.added_at, c.added_by,
    (select max(s.used_at) from smp.sign_in as s where s.colleague_id = c.colleague_id)
from smp.colleague as c
where c.removed_at is null
order by lower(c.name), c.address
