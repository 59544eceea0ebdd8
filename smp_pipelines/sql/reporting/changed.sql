-- Postgres. Whether something changed that the latest report file does not show, and when that was published.
with report as (
    select published, published_at
    from smp.report_state
    -- what was written on another server, of which this one is a restored copy, says nothing here
    where pg_snapshot_xmax(published) <= pg_snapshot_xmax(pg_current_snapshot())
),
seen as (
    select coalesce((select published from report), '1:1:'::pg_snapshot) as snapshot
),
since as (
    select snapshot, pg_snapshot_xmin(snapshot) as first from seen
)
select
    exists (
        select from smp.send, since where changed_tx >= first and not pg_visible_in_snapshot(changed_tx, snapshot)
    ) as sends,
    exists (
        select from smp.submission, since where changed_tx >= first and not pg_visible_in_snapshot(changed_tx, snapshot)
    ) or exists (
        select from smp.unsubscription, since
        where changed_tx >= first and not pg_visible_in_snapshot(changed_tx, snapshot)
    ) as submissions,
    exists (
        select from smp.hit, since where changed_tx >= first and not pg_visible_in_snapshot(changed_tx, snapshot)
    ) as hits,
    exists (
        select from smp.participant, since
        where changed_tx >= first and not pg_visible_in_snapshot(changed_tx, snapshot)
    ) as flows,
    (select published_at from report)
