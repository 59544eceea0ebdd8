-- DuckDB. How many mails each person received in the days of the frequency cap: from the lake, and of the sends
-- that the lake does not know yet from the ledger.
insert into temp.received
select person_id, count(*) as mails
from (
    select person_id
    from smp.contact_moment
    where received
        and happened_at > $since
        and not list_contains($exempt, step)
        and not list_contains($apart, send_id)
    union all
    select person_id from temp.newer_mail
)
group by person_id
