,
acted as (
    insert into {table} ({columns})
    select {values} from judged as j where j.way = 'next' order by j.participant_id
)
