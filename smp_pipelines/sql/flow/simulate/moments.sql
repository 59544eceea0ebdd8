-- Postgres. When something happens that a flow looks at, by the end of the hour in which it does, counted from the start.
select distinct date_bin('1 hour', happened_at - interval '1 microsecond', %(after)s) + interval '1 hour'
from ({events}) as happening
where {window}
