-- Why events enrolled nobody in a flow.
select reason, count(*) from smp.flow_refusal where flow_id = %(flow_id)s group by reason order by 2 desc, 1
