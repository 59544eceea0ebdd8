-- People who were put on a list of this name.
select
    s.person_id,
    null::bigint as record_id,
    'list:' || s.list_id
        || case when %(again)s then ':' || (extract(epoch from s.added_at) * 1000000)::bigint else '' end as entry_key,
    s.added_at as happened_at
from crm.list_member as s
join crm.list as l using (list_id)
where l.name = %(list)s and {fresh}
