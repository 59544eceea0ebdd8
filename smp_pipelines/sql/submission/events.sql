-- What has to be mailed because of submissions that this transaction stored or confirmed, and the word that it waits.
-- An address gets a few of such mails in an hour; what is more is written down as missed: somebody could fill another
-- person's mailbox by a form.
with given as (
    select *
    from unnest(%(keys)s::uuid[], %(steps)s::text[], %(records)s::bigint[]) as given (submission_key, step, record_id)
),
wanted as (
    select
        given.step, given.record_id, s.submission_id, s.person_id,
        coalesce(%(confirmed_at)s, s.submitted_at) as happened_at, p.email_key,
        row_number() over (partition by p.email_key order by s.submission_id) as place
    from given
    join smp.submission as s using (submission_key)
    join crm.person as p using (person_id)
    where s.changed_tx = pg_current_xact_id()
),
written as (
    insert into smp.trigger_event (step, person_id, record_id, submission_id, cause, happened_at, missed)
    select
        wanted.step, wanted.person_id, wanted.record_id, wanted.submission_id,
        case when %(confirmed_at)s::timestamptz is null then 'submitted' else 'confirmed' end, wanted.happened_at,
        -- whoever confirmed has that mailbox
    case when %(confirmed_at)s::timestamptz is null and lately.mails + wanted.place > %(most)s and wanted.email_key is not null then %(missed)s end
    from wanted
    cross join lateral (
        select count(*) as mails
        from crm.person as sharing
        join smp.trigger_event as e using (person_id)
        where sharing.email_key = wanted.email_key
          and e.happened_at > wanted.happened_at - interval '1 hour'
          and e.missed is null
    ) as lately
    order by wanted.submission_id
    on conflict (submission_id, step, cause) do nothing
    returning event_id
)
select pg_notify(%(channel)s, '') from (select from written limit 1) as any_of_them
