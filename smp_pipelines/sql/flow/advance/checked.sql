-- Before every action: whether the participant is still there, and not excluded by now (F33).
checked as (
    select
        here.*,
        p.email_key,
        case
            when p.person_id is null then 'person_gone'
            when p.blocked then 'person_blocked'
            when x.person_id is not null then 'excluded'
        end as dropped
    from here
    left join crm.person as p on p.person_id = here.person_id
    left join (select distinct person_id from flow_yes where %(excluded)s) as x on x.person_id = here.person_id
),
