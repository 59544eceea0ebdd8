-- Postgres. What is empty on the cards that stay comes from those that went, the lowest key first; never contact means
-- never contact.
update crm.person as p
set blocked = p.blocked or f.blocked, {filled}
from (
    select smp_new, bool_or(blocked) as blocked, {firsts}
    from smp_merge_card
    group by smp_new
) as f
where p.person_id = f.smp_new
