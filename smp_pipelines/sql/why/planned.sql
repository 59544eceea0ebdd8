-- The send with a key that was planned; when an audience test stopped it and somebody overruled that, the send that took
-- its place.
with recursive taken as (
    select send_id, state, 0 as times from smp.send where send_key = %(key)s
    union all
    select s.send_id, s.state, t.times + 1
    from taken as t
    join smp.audience_overrule as o on o.send_id = t.send_id
    join smp.send as s on s.send_id = o.new_send_id
)
select send_id from taken where state <> 'planning' order by times desc limit 1
