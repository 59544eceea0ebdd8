-- A link for whoever has this address, unless they got as many as %(most)s since a moment.
insert into smp.sign_in (token_hash, colleague_id, made_at, expires_at)
select %(token_hash)s, c.colleague_id, %(now)s, %(expires_at)s
from smp.colleague as c
where c.address = %(address)s
    and c.removed_at is null
    and (
        %(most)s::int is null
        or %(most)s > (
            select count(*) from smp.sign_in as s where s.colleague_id = c.colleague_id and s.made_at > %(since)s
        )
    )
returning colleague_id
