-- Change tracking for the tables of schema crm, so that the mirror copies only what changed.
-- changed_tx is the transaction that last wrote the row. A mirror that remembers the oldest
-- transaction still running when it read (pg_snapshot_xmin) misses nothing, however late one commits.

create table if not exists smp.crm_deletion (
    table_name text not null,
    key        jsonb,
    changed_tx xid8 not null default pg_current_xact_id()
);
create index if not exists crm_deletion_changed on smp.crm_deletion (changed_tx);
comment on table smp.crm_deletion is 'Rows deleted from crm tables, for the mirror; a null key means that the table was emptied';

create or replace function smp.note_change() returns trigger language plpgsql as $$
begin
    new.changed_tx := pg_current_xact_id();
    return new;
end $$;

-- The trigger's arguments are the names of the table's key columns.
create or replace function smp.note_deletion() returns trigger language plpgsql as $$
begin
    insert into smp.crm_deletion (table_name, key)
    select tg_table_schema || '.' || tg_table_name,
           (select jsonb_object_agg(k, to_jsonb(gone) -> k) from unnest(tg_argv) as k)
    from gone;
    return null;
end $$;

create or replace function smp.note_truncation() returns trigger language plpgsql as $$
begin
    insert into smp.crm_deletion (table_name) values (tg_table_schema || '.' || tg_table_name);
    return null;
end $$;

do $$
declare
    found record;
begin
    for found in
        select c.oid::regclass as name, c.relname,
               (select string_agg(quote_literal(a.attname), ', ' order by a.attnum)
                from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
                where i.indrelid = c.oid and i.indisprimary) as key_columns
        from pg_class c
        where c.relnamespace = 'crm'::regnamespace and c.relkind = 'r'
          and not exists (select from pg_trigger t where t.tgrelid = c.oid and t.tgname = 'smp_note_change')
    loop
        execute format('alter table %s add column if not exists changed_tx xid8 not null default pg_current_xact_id()', found.name);
        execute format('create index on %s (changed_tx)', found.name);
        execute format('create trigger smp_note_change before update on %s for each row execute function smp.note_change()', found.name);
        execute format('create trigger smp_note_deletion after delete on %s referencing old table as gone for each statement execute function smp.note_deletion(%s)', found.name, found.key_columns);
        execute format('create trigger smp_note_truncation after truncate on %s for each statement execute function smp.note_truncation()', found.name);
    end loop;
end $$;
