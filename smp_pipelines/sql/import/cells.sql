-- What people write in a cell, turned into a value: null when it is not one without doubt.
-- The variable import_zone is the time zone of moments without an offset.

create macro cell(v) as nullif(trim(v), '');

create macro cell_boolean(v) as case
    when lower(trim(v)) in ('ja', 'j', 'true', 't', '1') then true
    when lower(trim(v)) in ('nee', 'n', 'false', 'f', '0') then false
end;

create macro cell_integer(v) as case when regexp_full_match(trim(v), '[+-]?\d+') then trim(v) end;

-- A decimal comma only where `comma` says so, and never both: 1.234,50 is left to the sender.
create macro cell_decimal(v, comma, pattern) as
    case when regexp_full_match(if(comma, replace(trim(v), ',', '.'), trim(v)), pattern)
        then if(comma, replace(trim(v), ',', '.'), trim(v)) end;

-- 2026-01-31 and 31-1-2026; also with a time of midnight, as other systems write dates.
create macro cell_date(v) as case
    when regexp_full_match(trim(v), '[1-9]\d{3}-\d{2}-\d{2}([ T]00:00(:00(\.0+)?)?)?') then try_cast(left(trim(v), 10) as date)
    when regexp_full_match(trim(v), '\d{1,2}-\d{1,2}-[1-9]\d{3}( 0?0:00(:00)?)?')
        then try_strptime(split_part(trim(v), ' ', 1), '%d-%m-%Y')::date
end;

-- A wall clock's reading: 2026-01-31 20:15[:30[.5]], 2026-01-31T20:15, 31-01-2026 20:15, a date (midnight).
create macro cell_local(v) as case
    when regexp_full_match(trim(v), '[1-9]\d{3}-\d{2}-\d{2}[ T]\d{2}:\d{2}') then try_cast(replace(trim(v), 'T', ' ') || ':00' as timestamp)
    when regexp_full_match(trim(v), '[1-9]\d{3}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d{1,9})?') then try_cast(trim(v) as timestamp)
    when regexp_full_match(trim(v), '\d{1,2}-\d{1,2}-[1-9]\d{3} \d{1,2}:\d{2}(:\d{2})?')
        then try_strptime(trim(v), ['%d-%m-%Y %H:%M:%S', '%d-%m-%Y %H:%M'])
    else cell_date(v)::timestamp
end;

-- The moment of a wall clock's reading; null in the hour that is skipped and in the one that comes twice.
create macro local_moment(t) as case
    when timezone(getvariable('import_zone'), timezone(getvariable('import_zone'), t)) = t
        and timezone(getvariable('import_zone'), timezone(getvariable('import_zone'), t) + interval 1 hour) <> t
        and timezone(getvariable('import_zone'), timezone(getvariable('import_zone'), t) - interval 1 hour) <> t
    then timezone(getvariable('import_zone'), t)
end;

create macro cell_moment(v) as case
    when regexp_full_match(trim(v), '[1-9]\d{3}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)? ?(Z|[+-]\d{2}(:?\d{2})?)')
        then try_cast(
            regexp_replace(regexp_replace(trim(v), ' ?(Z|[+-]\d{2}(:?\d{2})?)$', '\1'), '([ T]\d{2}:\d{2})(Z|[+-])', '\1:00\2')
            as timestamptz
        )
    else local_moment(cell_local(v))
end;

-- Text stays as it is, spaces around it too; only spaces is nothing.
create macro cell_text(v, longest) as
    case when cell(v) is not null and not contains(v, chr(0)) and length(v) <= longest then v end;
