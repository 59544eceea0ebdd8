-- What people allow, per channel and topic.
select person_id, channel, topic, granted, changed_at, source
from crm.consent
