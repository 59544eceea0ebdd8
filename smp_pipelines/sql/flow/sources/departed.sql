-- Who is not in the selection any more is no member; at the first look nobody is.
delete from flow_member as m
where m.flow_id = %(flow_id)s and m.source = %(source)s
  and (%(first)s or not exists (select from flow_yes as y where y.person_id = m.person_id))
