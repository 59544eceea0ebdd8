-- Answer the open questions of a flow, and write that into its audit.
with answered as (
    update smp.flow_admission as a
    set answer = %(yes)s, answered_at = %(now)s, answered_by = %(by)s
    from smp.flow as f
    where f.flow = %(flow)s and a.flow_id = f.flow_id and a.answer is null
    returning a.admission_id, a.flow_id, f.flow, a.source, a.people, a.asked_at, a.answer
),
noted as (
    insert into smp.flow_change (flow_id, changed_at, changed_by, change, details)
    select flow_id, %(now)s, %(by)s, %(change)s, jsonb_build_object('source', source, 'people', people)
    from answered
)
select admission_id, flow, source, people, asked_at, answer from answered order by admission_id
