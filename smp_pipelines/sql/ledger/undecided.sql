-- The unknown rows of a send that are to be resolved, held until that is written: all, or those with these keys or numbers.
select recipient_key, seq
from smp.message
where send_id = %(send_id)s
  and state = 'unknown'
  and (%(all)s or recipient_key = any (%(keys)s::uuid[]) or seq = any (%(seqs)s::integer[]))
order by seq
for update
