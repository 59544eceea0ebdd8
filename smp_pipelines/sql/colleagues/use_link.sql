-- Use a link, once: whoever asks at the same time waits for this row and finds it used.
update smp.sign_in as s
set used_at = %(now)s
from smp.colleague as c
where s.token_hash = %(token_hash)s
    and s.used_at is null
    and s.expires_at > %(now)s
    and c.colleague_id = s.colleague_id
    and c.removed_at is null
returning s.colleague_id
