-- Take who submitted, or confirmed, in this transaction off lists.
delete from crm.list_member
where list_id in (select list_id from crm.list where name = any (%(names)s))
  and person_id in (
      select s.person_id
      from smp.submission as s
      where s.submission_key = any (%(keys)s) and s.changed_tx = pg_current_xact_id()
  )
