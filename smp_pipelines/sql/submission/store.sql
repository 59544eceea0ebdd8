-- What stores submissions of one form: a function of the session, so that a batch is sent, planned and answered once.
-- `submissions`: an array of submissions; in one call nobody is there twice. Gives the key of each, its number (also of
-- what was stored before; null: it is left out), and whether its step is live. Every statement sees what those before
-- it wrote; an error undoes all of them.
create or replace function {name} (submissions jsonb)
returns table (submission_key uuid, submission_id bigint, is_live boolean)
language plpgsql
as ${tag}$
#variable_conflict use_column
<<batch>>
declare
    rows jsonb := submissions;
    has_links boolean;
    keys uuid[];
    mailed uuid[];
    steps text[];
    records bigint[];
    nothing text;
begin
    -- one at a time for a submission key and for an address that may be new; always in the same order, so that no two
    -- wait for each other
    perform pg_advisory_xact_lock(ordered.key)
    from (
        select distinct hashtextextended(name.value, 0) as key
        from jsonb_array_elements(batch.rows) as submission
        cross join lateral jsonb_array_elements_text(submission.value -> 'names') as name
        order by 1
    ) as ordered;

    select
        bool_or(row.link_person is not null), array_agg(row.submission_key),
        array_agg(row.submission_key) filter (where row.mail is not null),
        array_agg(row.mail) filter (where row.mail is not null),
        array_agg(row.mail_record) filter (where row.mail is not null)
    into batch.has_links, batch.keys, batch.mailed, batch.steps, batch.records
    from jsonb_to_recordset(batch.rows) as row (
        submission_key uuid, link_person bigint, mail text, mail_record bigint
    );

    return query
    {record};

    {fill};

    {consents}

    {lists}

    if batch.mailed is not null then
        {events}
        into batch.nothing;
    end if;
end
${tag}$
