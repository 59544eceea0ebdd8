-- What became of submissions: those that are stored, now or before, with their numbers.
select submission_key, submission_id
from smp.submission
where submission_key = any (%(keys)s)
