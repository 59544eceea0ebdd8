-- DuckDB. The audience of a send: everybody whom its selection run had, beside what the ledger says of each.
-- In braces: the query of who was selected, the ledger's rows of the send (a query for Postgres), words for reasons.
create or replace temp table audience as
select
    coalesce(s.person_id, m.person_id) as person_id,
    coalesce(s.record_id, m.record_id) as record_id,
    s.person_id is not null as selected,
    m.state,
    m.reason,
    w.words as why
from ({selected}) as s
full join postgres_query('pg', {ledger}) as m
    on m.person_id = s.person_id and m.record_id is not distinct from s.record_id
left join (values {words}) as w (reason, words) on w.reason = m.reason
