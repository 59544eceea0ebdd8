-- Audiences: what a run of a selection read and changed, target groups of steps, audience tests.

-- A run can be looked at again as it was: its SQL, and the snapshots of both lake catalogues that it read.
alter table smp.selection_run
    add column crm_snapshot_id bigint,
    add column smp_snapshot_id bigint,
    add column sql text,
    add column entered bigint,
    add column departed bigint;
create index selection_run_moment on smp.selection_run (selection, moment desc, selection_run_id desc);
comment on column smp.selection_run.crm_snapshot_id is 'The mirror as the run read it: a snapshot of the lake''s catalogue crm';
comment on column smp.selection_run.smp_snapshot_id is
    'Contact moments and other selections as the run read them: a snapshot of the lake''s catalogue smp';
comment on column smp.selection_run.sql is 'The SQL that ran, with the run''s moment in the place of its clock';
comment on column smp.selection_run.entered is 'Rows that the run before did not have; null for a first run, or when the keys changed';
comment on column smp.selection_run.departed is 'Rows of the run before that this one does not have';
