-- DuckDB. Whom the sends used that the lake knows; the numbers are written out, for a list as a parameter costs seconds.
insert into temp.used_in_campaign
select distinct person_id from smp.contact_moment where kind = 'sent' and send_id in ({sends})
