-- Postgres. Who goes into whom, for the length of the transaction.
create temp table smp_merge (smp_old bigint primary key, smp_new bigint not null) on commit drop;
create temp view smp_merge_id as select smp_old as id from smp_merge union select smp_new from smp_merge
