-- Who waits in a flow: at which step, since when and until when, with the steps that they came along (F47).
select
    p.flow, p.step, p.person_id, p.arrived_at, p.due_at,
    (
        select string_agg(v.step || case when v.note is null then '' else ' (' || v.note || ')' end, ' > ' order by v.left_at, v.place)
        from flow_path as v
        where v.participant_id = p.participant_id
    ) as came_along
from flow_participant as p
where p.left_at is null
order by p.flow, p.arrived_at, p.person_id
