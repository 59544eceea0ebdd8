create or replace table sample.organisation as
with cards as (
    select number, sample.dice(number, 'organisation kind', 10) as kind
    from range(1, greatest(getvariable('sample_people') // 40, 1) + 1) as t (number)
)
select
    number::bigint as organisation_id,
    case
        when kind < 5 then sample.pick(number, 'trade', [
            'Bakkerij', 'Bouwbedrijf', 'Notariskantoor', 'Accountantskantoor', 'Installatiebedrijf', 'Drukkerij',
            'Hoveniersbedrijf', 'Makelaardij', 'Adviesbureau', 'Garage', 'Boekhandel', 'Architectenbureau'
        ]) || ' ' || owner.formal_name
        when kind < 7 then sample.pick(number, 'school', [
            'Basisschool', 'Daltonschool', 'Lyceum', 'Montessorischool', 'College'
        ]) || ' ' || sample.pick(number, 'school name', [
            'De Regenboog', 'Het Kompas', 'De Wegwijzer', 'De Klimop', 'Het Palet', 'De Horizon', 'De Vuurtoren'
        ])
        when kind < 9 then sample.pick(number, 'club', [
            'Koor', 'Toneelvereniging', 'Harmonie', 'Leesclub', 'Wandelclub', 'Buurtvereniging'
        ]) || ' ' || sample.pick(number, 'club name', [
            'Crescendo', 'Kunst na Arbeid', 'De Vriendschap', 'Excelsior', 'Ons Genoegen', 'Eendracht'
        ])
        else sample.pick(number, 'fund', ['Stichting', 'Fonds']) || ' ' || sample.pick(number, 'fund name', [
            'Cultuurbehoud', 'Jong Talent', 'Muziek voor Iedereen', 'De Lindeboom', 'Oude Binnenstad'
        ])
    end || ' ' || town.name as name,
    case when kind < 5 then 'bedrijf' when kind < 7 then 'school' when kind < 9 then 'vereniging' else 'fonds' end as kind,
    town.name as city,
    to_timestamp(sample.created_seconds(-number)) as created_at
from cards
join sample_last_name as owner on owner.place = sample.dice(number, 'owner', 1024)
join sample_town as town on town.place = sample.dice(number, 'organisation town', 1024)
order by organisation_id;
