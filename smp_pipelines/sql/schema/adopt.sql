-- Change tracking for the tables of schema crm, so that the mirror copies only what changed.
-- changed_tx is the transaction that last wrote the row. A mirror that remembers the oldest
-- transaction still running when it read (pg_snapshot_xmin) misses nothing, however late one commits.
-- The whole file may run again: it gives every table what the table does not have yet.

create table if not exists smp.crm_deletion (
    table_name text not null,
    key        jsonb,
    changed_tx xid8 not null default pg_current_xact_id()
);
create index if not exists crm_deletion_changed on smp.crm_deletion (changed_tx);
comment on table smp.crm_deletion is
    'Rows deleted from crm tables that the mirror has not followed yet; a null key means that the table was emptied';

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

-- A row that got another key: under its old one it is gone.
create or replace function smp.note_new_key() returns trigger language plpgsql as $$
begin
    insert into smp.crm_deletion (table_name, key)
    values (
        tg_table_schema || '.' || tg_table_name,
        (select jsonb_object_agg(k, to_jsonb(old) -> k) from unnest(tg_argv) as k)
    );
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
        select c.oid::regclass as name, c.relname || '_changed_tx_idx' as index_name, k.names, k.olds, k.news
        from pg_class c
        cross join lateral (
            select
                string_agg(quote_literal(a.attname), ', ' order by a.attnum) as names,
                string_agg('old.' || quote_ident(a.attname), ', ' order by a.attnum) as olds,
                string_agg('new.' || quote_ident(a.attname), ', ' order by a.attnum) as news
            from pg_index i
            join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
            where i.indrelid = c.oid and i.indisprimary
        ) as k
        where c.relnamespace = 'crm'::regnamespace and c.relkind = 'r' and k.names is not null
    loop
        execute format('alter table %s add column if not exists changed_tx xid8 not null default pg_current_xact_id()', found.name);
        execute format('create index if not exists %I on %s (changed_tx)', found.index_name, found.name);
        execute format('create or replace trigger smp_note_change before update on %s for each row execute function smp.note_change()', found.name);
        execute format('create or replace trigger smp_note_new_key after update on %s for each row when ((%s) is distinct from (%s)) execute function smp.note_new_key(%s)', found.name, found.olds, found.news, found.names);
        execute format('create or replace trigger smp_note_deletion after delete on %s referencing old table as gone for each statement execute function smp.note_deletion(%s)', found.name, found.names);
        execute format('create or replace trigger smp_note_truncation after truncate on %s for each statement execute function smp.note_truncation()', found.name);
    end loop;
end $$;
