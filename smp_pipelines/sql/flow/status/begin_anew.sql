-- Postgres. A flow that had ended begins again: what its triggers saw is forgotten, so that nobody enters for what
-- happened in between; a question that nobody answered is not asked any more.
with cursors as (delete from smp.flow_cursor where flow_id = %(flow_id)s),
members as (delete from smp.flow_member where flow_id = %(flow_id)s)
delete from smp.flow_admission where flow_id = %(flow_id)s and answer is null
