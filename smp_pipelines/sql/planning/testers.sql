-- Postgres. Whether each of these people can get a test mail: fit, or what is in the way.
select
    g.person_id,
    case
        when p.person_id is null then 'unknown'
        when not p.internal_test then 'outsider'
        when p.email_key is null then 'missing'
        when octet_length(p.email_key) > 254
            or (p.email_key !~ %(plain)s and p.email_key !~ %(address)s)
            or octet_length(split_part(p.email_key, '@', 1)) > 64
            or p.email_key ~ %(long_label)s
            then 'broken'
        else 'fit'
    end as finding
from (select distinct unnest(%(people)s::bigint[]) as person_id) as g
left join crm.person as p using (person_id)
order by g.person_id
