-- Postgres. What became of events: by source, and the reason why they enrolled nobody (null: enrolled).
select entered_by, null as reason, count(*) from participant group by 1
union all
select entered_by, reason, count(*) from flow_refusal group by 1, 2
order by 1, 3 desc, 2
