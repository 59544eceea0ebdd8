-- DuckDB. What the ledger says of a few people, looked up once among the rows of everybody; contact moments are the
-- part of it that the view smp.contact_moment shows (reporting/lake.sql).
create or replace temp table near_message as {messages};

create or replace temp table near_person as
select person_id, email_key from crm.person where person_id in ({people});

create or replace temp table near_moment as
select
    person_id, campaign, step, channel, 'sent' as kind, moment as happened_at, outcome, reason, received, record_id, send_id
from temp.near_message
where purpose = 'live' and (outcome <> 'skipped' or received);
