-- Write down what became of unknown rows, with the audit. Without its token a late answer of the worker
-- cannot change it any more. A row that is sent again starts afresh.
with answer as (
    select *
    from unnest(%(keys)s::uuid[], %(states)s::text[], %(evidence)s::text[]) as a (recipient_key, state, evidence)
),
written as (
    update smp.message as m
    set state = a.state::smp.message_state,
        reason = case a.state when 'rejected' then 'not_arrived' end,
        claim_token = null,
        lease_until = null,
        retry_at = null,
        attempts = case a.state when 'planned' then 0 else m.attempts end,
        settled_at = case a.state when 'planned' then null else %(now)s end
    from answer as a
    where m.send_id = %(send_id)s and m.recipient_key = a.recipient_key and m.state = 'unknown'
    returning m.recipient_key, m.state, a.evidence
)
insert into smp.resolution (send_id, recipient_key, to_state, resolved_at, resolved_by, evidence)
select %(send_id)s, recipient_key, state, %(now)s, %(by)s, evidence
from written
