,
acted as (
    insert into crm.list_member (list_id, person_id, added_at)
    select distinct l.list_id, j.person_id, %(now)s
    from judged as j
    cross join (select min(list_id) as list_id from crm.list where name = %(list)s) as l
    where j.way = 'next'
    on conflict do nothing
)
