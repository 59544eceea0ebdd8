-- What a selection had seen of the ledger, to the transaction: an old transaction that is still
-- running somewhere says nothing about the sends that were planned, and seen, since it began.
alter table smp.selection_run add column seen pg_snapshot;
update smp.selection_run
set seen = concat(greatest(seen_tx::text::bigint, 1), ':', greatest(seen_tx::text::bigint, 1), ':')::pg_snapshot;
alter table smp.selection_run alter column seen set not null;
alter table smp.selection_run drop column seen_tx;
comment on column smp.selection_run.seen is 'The ledger as the selection knew it: what is not visible in it, it has not seen';
