-- Postgres. Whom these sends used: everybody who was mailed or is about to be, also by a shared address; and whom
-- these frozen groups hold.
select m.person_id
from smp.message as m
where m.send_id = any ({sends})
  and (
      m.state <> 'skipped'
      or exists (
          select from smp.message as w
          where w.send_id = m.send_id and w.recipient_key = m.duplicate_of
            and w.state in ('planned', 'claimed', 'accepted', 'unknown')
      )
  )
union
select person_id from smp.target_member where step = any ({frozen}) and linked
