-- How each step did: planned, accepted, skipped, and the share that was accepted.
select step, name, planned, accepted, rejected, unknown, skipped, waiting, accepted_percent
from step_results
order by step
