-- Every performance in four days: two days before its service mail leaves, so that there is time to mend it.
select performance_id
from crm.performance
where starts_at::date = current_date + 4
