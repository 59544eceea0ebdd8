-- Everyone who opened the survey about a performance, but did not reach its thank-you page within a day.
with seen as (
    select
        person_id,
        record_id as performance_id,
        min(happened_at) filter (where step = 'feedback/survey' and kind = 'form_opened') as opened_at,
        count(*) filter (where step = 'feedback/thanks' and kind = 'page_seen') as thanked
    from smp.contact_moment
    where campaign = 'feedback' and record_id is not null
    group by person_id, record_id
)
select person_id, performance_id
from seen
where opened_at between now() - interval '14 days' and now() - interval '1 day'
  and thanked = 0
  and {{ not_received("feedback/reminder", within="60 days", record="performance_id") }}
