-- Postgres. When somebody did what a step of a flow waits for, in the same way.
select distinct date_bin('1 hour', happened_at - interval '1 microsecond', %(after)s) + interval '1 hour'
from (
    select submitted_at as happened_at from smp.submission where step = any (%(steps)s::text[])
    union all
    select happened_at from smp.hit where step = any (%(steps)s::text[]) and kind = 'page'
) as done
where happened_at > %(after)s and happened_at <= %(now)s
