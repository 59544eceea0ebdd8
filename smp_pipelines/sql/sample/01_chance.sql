-- Chance that depends on nothing but the seed, the name of what is decided and the row's own
-- number: the same row comes out the same in any order, on any number of cores, for any number of
-- people. The outer hash() is needed: the inner one only mixes its last argument in with an xor.
-- (DuckDB's hash() is the same as long as DuckDB's version is; pyproject.toml fixes it.)

create schema if not exists sample;

-- A number from 0 up to `sides`.
create or replace macro sample.dice(number, what, sides) as
    (hash(hash(getvariable('sample_seed'), what, number)) % sides)::integer;

-- The same for something that has two numbers, such as a person on a day.
create or replace macro sample.dice2(number, other, what, sides) as
    (hash(hash(getvariable('sample_seed'), what, number, hash(other))) % sides)::integer;

create or replace macro sample.pick(number, what, choices) as
    choices[sample.dice(number, what, len(choices)) + 1];

-- Midnight of the sample's day in seconds since 1970 (UTC).
create or replace macro sample.now_seconds() as epoch(getvariable('sample_today'))::bigint;

-- Families: in every 25 people, two or three cards in a row are one family. Its number is that of
-- its first card; everybody else is a family of one. People 1 to 5 are colleagues and in no family.
create or replace macro sample.family_first(number) as
    number // 25 * 25 + 6 + sample.dice(number // 25, 'family place', 16);
create or replace macro sample.family_size(number) as
    case when sample.dice(number // 25, 'family size', 3) = 0 then 3 else 2 end;
create or replace macro sample.in_family(number) as
    number >= sample.family_first(number) and number < sample.family_first(number) + sample.family_size(number);
create or replace macro sample.family(number) as
    case when sample.in_family(number) then sample.family_first(number) else number end;

-- When the card was made, in seconds since 1970: in the twelve years up to yesterday.
create or replace macro sample.created_seconds(number) as
    sample.now_seconds() - 86400 * (1 + sample.dice(number, 'created day', 4380))
    + sample.dice(number, 'created second', 86400);

-- A moment between the making of the card and the sample's day, in seconds since 1970.
create or replace macro sample.seconds_since(number, what) as
    sample.created_seconds(number)
    + (sample.now_seconds() - sample.created_seconds(number)) * sample.dice(number, what, 100000) // 100000;
