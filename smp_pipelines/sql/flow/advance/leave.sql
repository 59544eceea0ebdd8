,
acted as (
    delete from crm.list_member as m
    using judged as j
    where j.way = 'next' and m.person_id = j.person_id and m.list_id in (select list_id from crm.list where name = %(list)s)
)
