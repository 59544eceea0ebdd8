-- `owner` is whose e-mail address a card has: a family that shares one has that of its first card.
create or replace temp table sample_card as
with numbers as (
    select
        number, number <= 5 as colleague, sample.in_family(number) as in_family, sample.family(number) as family
    from range(1, getvariable('sample_people') + 1) as t (number)
)
select
    *,
    in_family and sample.dice(family, 'shared address', 100) < 45 as shares,
    case when in_family and sample.dice(family, 'shared address', 100) < 45 then family else number end as owner
from numbers;

create or replace table sample.person as
with dice as (
    select
        *,
        case when colleague then number % 2 = 1 else sample.dice(number, 'woman', 100) < 56 end as woman,
        case when colleague then 0 else sample.dice(number, 'language', 100) end as language_dice,
        case when colleague then 50 else sample.dice(number, 'salutation', 100) end as salutation_dice,
        not colleague and sample.dice(number, 'no first name', 100) < 2 as nameless,
        sample.dice(owner, 'address state', 1000) as state,
        sample.dice(number, 'spelling', 100) as spelling,
        sample.dice(family, 'street known', 100) < 92 as at_home
    from sample_card
),
names as (
    select
        dice.*,
        case when colleague then ['Sanne', 'Joris', 'Fatima', 'Mark', 'Noor'][number] else first.name end as first_name,
        last.infix, last.name as last_name,
        last.formal_name,
        town.name as town, town.low, town.high, street.name as street,
        case
            when colleague then lower(first_name) || '@schouwburgdelinde.example'
            else case sample.dice(owner, 'address form', 4)
                when 0 then mail.plain || '.' || last.plain || owner
                when 1 then left(mail.plain, 1) || '.' || last.plain || owner
                when 2 then mail.plain || owner
                else last.plain || '.' || mail.plain || owner
            end || '@' || domain.name
        end as address
    from dice
    join sample_first_name as first
        on first.place = sample.dice(number, 'first name', 1024) and first.woman = dice.woman
    join sample_first_name as mail
        on mail.place = sample.dice(owner, 'first name', 1024) and mail.woman = (sample.dice(owner, 'woman', 100) < 56)
    join sample_last_name as last on last.place = sample.dice(family, 'last name', 1024)
    join sample_street as street on street.place = sample.dice(family, 'street', 1024)
    join sample_town as town on town.place = sample.dice(family, 'town', 1024)
    join sample_domain as domain on domain.place = sample.dice(owner, 'domain', 1024)
)
select
    number::bigint as person_id,
    case when not nameless then first_name end as first_name,
    infix,
    last_name,
    case
        when salutation_dice < 4 then null
        when nameless or salutation_dice < 20 then case when woman then 'Geachte mevrouw ' else 'Geachte heer ' end || formal_name
        when language_dice >= 99 then 'Bonjour ' || first_name
        when language_dice >= 97 then 'Guten Tag ' || first_name
        when language_dice >= 92 then 'Dear ' || first_name
        else 'Beste ' || first_name
    end as salutation,
    case
        when colleague then address
        when shares and number <> family and spelling < 15 then upper(address)
        when shares and number <> family and spelling < 30 then ' ' || address
        when shares and number <> family and spelling < 45 then upper(left(address, 1)) || substr(address, 2) || ' '
        when shares then address
        when state < 60 then null
        when state < 63 then replace(address, '@', '.')
        when state < 65 then replace(address, '.example', '..example')
        when state < 68 then replace(address, '@', ' @ ')
        when state < 70 then address || '.'
        when spelling < 1 then upper(left(address, 1)) || substr(address, 2)
        else address
    end as email,
    -- 06-0… is given out to nobody
    case when sample.dice(number, 'phone known', 100) < 70
        then '06-0' || lpad(sample.dice(number, 'phone', 10000000)::varchar, 7, '0') end as phone,
    case when language_dice < 92 then 'nl' when language_dice < 97 then 'en' when language_dice < 99 then 'de' else 'fr' end as language,
    case
        when sample.dice(number, 'birthday known', 100) >= 75 then null
        when sample.dice(number, 'leap day', 400) = 0 then make_date(1936 + 4 * sample.dice(number, 'leap year', 18), 2, 29)
        else getvariable('sample_today') - (18 * 366 + sample.dice(number, 'age', 68 * 365))
    end as birth_date,
    case when at_home then street end as street,
    case when at_home then (1 + sample.dice(family, 'house', 180))::varchar || case
        when sample.dice(family, 'house part', 12) = 0 then ' ' || substr('ABCD', 1 + sample.dice(family, 'house letter', 4), 1)
        else ''
    end end as house_number,
    case when at_home then (low + sample.dice(family, 'postal code', high - low + 1))::varchar
        || ' ' || sample.postal_letters(family, 'postal code') end as postal_code,
    case when at_home then town end as city,
    case when not colleague and sample.dice(number, 'works', 100) < 12
        then 1 + sample.dice(number, 'organisation', greatest(getvariable('sample_people') // 40, 1))::bigint
    end as organisation_id,
    not colleague and sample.dice(number, 'blocked', 1000) < 5 as blocked,
    colleague as internal_test,
    to_timestamp(sample.created_seconds(number)) as created_at
from names
order by person_id;
