,
acted as (
    update crm.person as p
    set {assignments}
    from judged as j
    where j.way = 'next' and p.person_id = j.person_id and ({now}) is distinct from ({becomes})
)
