-- Write down a decision; not again when the same person decided the same and nobody decided otherwise since.
insert into smp.record_decision (step, record, record_id, decision, decided_at, person_id, decided_by, changed)
select
    %(step)s, %(record)s, %(record_id)s, %(decision)s, %(now)s, %(person_id)s::bigint,
    'person ' || %(person_id)s::bigint, %(changed)s::boolean
where %(changed)s::boolean or not exists (
    select 1
    from smp.record_decision as mine
    where mine.step = %(step)s
      and mine.record = %(record)s
      and mine.record_id = %(record_id)s
      and mine.decision = %(decision)s
      and mine.person_id = %(person_id)s
      and not exists (
          select 1
          from smp.record_decision as later
          where later.step = mine.step
            and later.record = mine.record
            and later.record_id = mine.record_id
            and later.decision <> mine.decision
            and later.decision_id > mine.decision_id
      )
)
