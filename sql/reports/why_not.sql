-- Why selected people got no mail, per step.
select step, reason, people
from skip_words
order by step, people desc
