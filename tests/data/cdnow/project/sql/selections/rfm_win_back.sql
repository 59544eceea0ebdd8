-- Who is at risk and did not get the win-back mail in the past 90 days.
select person_id
from selections.rfm_at_risk
where {{ not_received("win_back/come_back", within="90 days") }}
