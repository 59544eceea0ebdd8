-- One at a time for a submission key and for an address that may be new. Always in the same order, so that no two
-- wait for each other.
select pg_advisory_xact_lock(ordered.key)
from (
    select distinct hashtextextended(name, 0) as key from unnest(%(names)s::text[]) as name order by 1
) as ordered
