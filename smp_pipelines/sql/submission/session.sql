-- What holds for a connection that stores batches all day. Plans of prepared statements are kept, also those that were
-- made while a table was empty: reading all of it looked cheapest then, and takes longer with every row that comes.
-- A batch is small and finds its rows by their keys, so that is how it is always to be planned.
select
    set_config('client_encoding', 'utf8', false),
    set_config('lock_timeout', %(lock_timeout)s, false),
    set_config('enable_seqscan', 'off', false),
    set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false)
