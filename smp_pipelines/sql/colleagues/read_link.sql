-- Whose link it is, as long as it is good.
select c.name
from smp.sign_in as s
join smp.colleague as c using (colleague_id)
where s.token_hash = %(token_hash)s and s.used_at is null and s.expires_at > %(now)s and c.removed_at is null
