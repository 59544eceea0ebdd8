-- Postgres. Say of every row of a file of contacts which person it links to which step, or what is wrong with it. Of
-- rows for the same person (and linked record) the first counts. An empty cell has the fixed value, if there is one.
create temp table smp_group_judged on commit drop as
with said as (
    select
        line, fault, original, fields,
        lower(btrim(coalesce(nullif(btrim(campaign), ''), {campaign}))) as campaign,
        regexp_replace(lower(btrim(coalesce(nullif(btrim(number), ''), {number}))), '^0+(?=\d)', '') as number,
        nullif(btrim(contact), '') as contact,
        lower(btrim(coalesce(nullif(btrim(linked), ''), {linked}))) as linked,
        nullif(btrim(record), '') as record
    from smp_group_row
),
read as (
    select
        r.line, r.fault, r.original, r.fields, r.campaign, r.number, r.contact, r.linked as linked_text, r.record,
        s.step, s.frozen, s.record as needs,
        case when r.contact ~ '^\d{{1,18}}$' then r.contact::bigint end as person_id,
        case when r.record ~ '^\d{{1,18}}$' then r.record::bigint end as record_id,
        case
            when r.linked in ('j', 'ja', 'y', 'yes', 'true', 't', '1') then true
            when r.linked in ('n', 'nee', 'no', 'false', 'f', '0') then false
        end as linked
    from said as r
    left join smp_group_step as s on s.campaign = r.campaign and s.number = r.number
),
judged as (
    select
        r.*,
        case
            when r.fault is not null then r.fault
            when r.campaign is null then 'campaign is empty'
            when not exists (select from smp_group_step as s where s.campaign = r.campaign)
                then 'there is no campaign ' || left(r.campaign, 60)
            when r.number is null then 'number is empty'
            when r.step is null then 'campaign ' || r.campaign || ' has no step ' || left(r.number, 60)
            when not r.frozen then 'step ' || r.step || ' is evaluated at each send: nobody can be linked to it'
            when r.contact is null then 'contact is empty'
            when r.person_id is null then 'contact: ' || left(r.contact, 60) || ' is not a number'
            when not exists (select from crm.person as p where p.person_id = r.person_id)
                then 'contact ' || r.person_id || ' is not in the CRM'
            when r.linked_text is null then 'linked is empty'
            when r.linked is null then 'linked: ' || left(r.linked_text, 60) || ' is not J or N'
            when r.needs is null and r.record is not null then 'step ' || r.step || ' has no linked record'
            when r.needs is not null and r.record is null then 'record is empty: the step is about a ' || r.needs
            when r.record is not null and r.record_id is null then 'record: ' || left(r.record, 60) || ' is not a number'
        end as reason
    from read as r
)
select
    line, step, person_id, record_id, linked, original, fields,
    case
        when reason is not null then reason
        when line > min(line) over same then 'the same contact as on line ' || min(line) over same
    end as reason
from judged
window same as (partition by step, person_id, record_id, reason is null)
