-- Postgres. Of lines that somebody wrote: the places of those that are no address, by the rule of the claim.
select w.place
from unnest(%(lines)s::text[]) with ordinality as w (line, place)
cross join lateral (select lower(btrim(w.line)) as email_key) as k
where octet_length(k.email_key) > 254
    or (k.email_key !~ %(plain)s and k.email_key !~ %(address)s)
    or octet_length(k.email_key) > 64
    and (octet_length(split_part(k.email_key, '@', 1)) > 64 or k.email_key ~ %(long_label)s)
order by w.place
