-- Everybody who is on the way and met no goal yet.
create temporary table flow_asked as
select person_id
from participant
where version_id = %(version_id)s and left_at is null and goal_at is null
