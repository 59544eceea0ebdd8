-- Who is signed in with a cookie; null for whoever sits at this machine. No row: nobody, or no longer.
select c.name
from smp.session as s
left join smp.colleague as c using (colleague_id)
where s.token_hash = %(token_hash)s
    and s.expires_at > %(now)s
    and (s.colleague_id is null or c.removed_at is null)
