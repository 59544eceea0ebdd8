create or replace table sample.donation as
with donors as (
    select person_id, unnest(range(1 + sample.dice(person_id, 'donations', 3))) as turn
    from sample.person
    where not internal_test and sample.dice(person_id, 'donor', 100) < 6
)
select
    (person_id * 4 + turn)::bigint as donation_id,
    person_id,
    sample.pick(donation_id, 'fund', ['Jeugdfonds', 'Jeugdfonds', 'Talentfonds', 'Fonds Grote Zaal', 'Instrumentenfonds']) as fund,
    sample.pick(donation_id, 'action', [null, null, 'Eindejaarsactie', 'Geef een stoel', 'Theater voor elk kind', 'Giftenvraag bij bestelling']) as action,
    sample.pick(donation_id, 'amount', [5, 10, 10, 15, 25, 25, 25, 50, 50, 75, 100, 150, 250, 500, 1000])::decimal(10, 2) as amount,
    to_timestamp(sample.seconds_since(person_id, 'donated ' || turn)) as donated_at
from donors
order by donation_id;

create or replace table sample.membership as
with members as (
    select person_id, make_timestamp(sample.seconds_since(person_id, 'member since') * 1000000)::date as since
    from sample.person
    where not internal_test and sample.dice(person_id, 'member', 100) < 5
)
select
    person_id as membership_id,
    person_id,
    sample.pick(person_id, 'membership', ['Vriend', 'Vriend', 'Vriend', 'Goede Vriend', 'Beschermer', 'Jongerenpas']) as kind,
    since as starts_on,
    case when sample.dice(person_id, 'membership ended', 100) < 30
        then since + sample.dice(person_id, 'membership end', getvariable('sample_today') - since + 200) end as ends_on
from members
order by membership_id;

create or replace table sample.list as
select list_id::bigint as list_id, name, description
from (
    values
        (1, 'Pers', 'Journalisten en recensenten'),
        (2, 'Vrijwilligers', 'Iedereen die een dienst draait'),
        (3, 'Genodigden seizoensopening', 'Uitnodiging per post, met partner'),
        (4, 'Scholen', 'Contactpersonen van scholen'),
        (5, 'Klankbordgroep', null),
        (6, 'Zakelijke relaties', 'Sponsors en zaalhuur')
) as lists (list_id, name, description);

create or replace table sample.list_member as
select l.list_id, p.person_id, to_timestamp(sample.seconds_since(p.person_id, 'listed ' || l.list_id)) as added_at
from sample.list as l cross join sample.person as p
where not p.internal_test
  and sample.dice2(p.person_id, l.list_id, 'listed', 1000) < [2, 8, 12, 6, 3, 10][l.list_id]
  and (l.list_id not in (4, 6) or p.organisation_id is not null or sample.dice(p.person_id, 'listed anyway', 4) = 0)
order by list_id, person_id;
