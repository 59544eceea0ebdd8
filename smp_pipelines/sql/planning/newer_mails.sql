-- Postgres. Who received a mail of these sends, or is about to, once per mail; as reporting/messages.sql has it.
select m.person_id
from smp.message as m
where m.send_id = any ({sends})
  and (
      m.state in ('planned', 'claimed', 'accepted', 'unknown')
      or exists (
          select from smp.message as w
          where w.send_id = m.send_id and w.recipient_key = m.duplicate_of
            and w.state in ('planned', 'claimed', 'accepted', 'unknown')
      )
  )
