-- Postgres. Hits, as they came; of a mail only the keys are known, the ledger tells its step, person and record.
insert into smp.hit (
    kind, happened_at, step, person_id, record_id, send_id, recipient_key, submission_id, link, method, prefetch,
    user_agent, network
)
select
    h.kind,
    h.happened_at,
    coalesce(h.step, s.step),
    coalesce(h.person_id, m.person_id),
    coalesce(h.record_id, m.record_id),
    h.send_id,
    h.recipient_key,
    h.submission_id,
    h.link,
    h.method,
    h.prefetch,
    h.user_agent,
    h.network::inet
from unnest(
    %(kind)s::text[], %(happened_at)s::timestamptz[], %(step)s::text[], %(person_id)s::bigint[], %(record_id)s::bigint[],
    %(send_id)s::bigint[], %(recipient_key)s::uuid[], %(submission_id)s::bigint[], %(link)s::text[], %(method)s::text[],
    %(prefetch)s::boolean[], %(user_agent)s::text[], %(network)s::text[]
) with ordinality as h (
    kind, happened_at, step, person_id, record_id, send_id, recipient_key, submission_id, link, method, prefetch,
    user_agent, network, place
)
left join smp.send as s on s.send_id = h.send_id and h.recipient_key is not null
left join smp.message as m on m.send_id = h.send_id and m.recipient_key = h.recipient_key
where coalesce(h.step, s.step) is not null
order by h.place
