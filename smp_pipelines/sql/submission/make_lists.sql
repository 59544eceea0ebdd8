-- Lists that a form puts people on and that are not there yet.
insert into crm.list (list_id, name)
select nextval('smp.new_person_id'), wanted.name
from unnest(%(names)s::text[]) as wanted (name)
where not exists (select from crm.list where list.name = wanted.name)
order by wanted.name
