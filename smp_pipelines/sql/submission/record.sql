-- Submissions, each with whose it is: the person of a personal link, somebody who is in the CRM by the form's rule,
-- or a new person, whose id is taken here. Of several people with one address: who has that last name, then the
-- lowest id. Left out: what was stored before, what is for a step that is not live, and the form of somebody whose
-- link is good but who is not in the CRM any more. Gives the key of each, its number (also of what was stored before;
-- null: it is left out), and whether its step is live. Nobody else writes these keys meanwhile: they are locked.
with given as (
    select
        given.*,
        (select s.submission_id from smp.submission as s where s.submission_key = given.submission_key) as stored_before,
        exists (select from smp.step_status as live where live.step = given.step and live.status = 'live') as is_live
    from jsonb_to_recordset(%(rows)s) as given (
        submission_key uuid, form text, step text, rule text, link_person bigint, record_id bigint, send_id bigint,
        email text, last_name text, answers jsonb, consents jsonb, language text, submitted_at timestamptz,
        awaits_confirmation boolean
    )
),
found as (
    select given.*, known.person_id
    from given
    left join lateral (
        select p.person_id, compared.is_same
        from crm.person as p
        cross join lateral (
            select
                lower(btrim(to_jsonb(p) ->> 'last_name')) as short,
                lower(btrim(concat_ws(' ', to_jsonb(p) ->> 'infix', to_jsonb(p) ->> 'last_name'))) as long
        ) as name
        cross join lateral (
            select coalesce(lower(given.last_name) in (name.short, name.long), false) as is_same
        ) as compared
        where given.rule in ('email', 'email_and_last_name')
          and p.email_key = lower(btrim(given.email))
          and (given.rule = 'email' or compared.is_same)
        union all
        select p.person_id, true from crm.person as p where given.rule = 'link' and p.person_id = given.link_person
        order by is_same desc, person_id
        limit 1
    ) as known on true
    where given.stored_before is null and given.is_live
),
written as (
    insert into smp.submission (
        submission_key, form, step, person_id, record_id, identified, answers, consents, language, submitted_at,
        awaits_confirmation, send_id
    )
    select
        submission_key, form, step, coalesce(person_id, nextval('smp.new_person_id')), record_id,
        case when rule = 'link' then 'link' when person_id is null then 'new' else 'matched' end,
        answers, consents, language, submitted_at, awaits_confirmation, send_id
    from found
    where rule <> 'link' or person_id is not null
    returning submission_key, submission_id
)
select submission_key, coalesce(given.stored_before, written.submission_id) as submission_id, given.is_live
from given
left join written using (submission_key)
