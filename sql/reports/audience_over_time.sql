-- How each selection went from run to run: its rows, who came, who went, and whether it was sent to.
select selection, moment, rows_selected, entered, departed, sends
from selection_runs
order by selection, moment desc
limit 200
