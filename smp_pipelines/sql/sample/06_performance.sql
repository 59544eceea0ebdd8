-- What is on. A day has five places in the programme: an evening in each of three halls, a matinee
-- and a lunch concert. About two are taken; from yesterday to two weeks ahead at least four. A
-- production stays some days in its place, and a day's programme does not depend on the sample's day
-- (but for how full the coming weeks are), so that its number and title stay what they are.
create or replace table sample.performance as
with productions (place, title, genre, company, minutes) as (
    values
        (0, 'Hamlet', 'toneel', 'Toneelgroep De Branding', 165), (0, 'De Kersentuin', 'toneel', 'Theater Rust en Vuur', 140),
        (0, 'Wie is er bang voor Virginia Woolf?', 'toneel', 'Toneelgroep De Branding', 150),
        (0, 'La Traviata', 'opera', 'Opera van het Noorden', 170), (0, 'Carmen', 'opera', 'Opera van het Noorden', 175),
        (0, 'Het Zwanenmeer', 'dans', 'Ballet aan de Maas', 135), (0, 'Notenkraker en Muizenkoning', 'dans', 'Ballet aan de Maas', 120),
        (0, 'De Negende van Beethoven', 'klassiek', 'Het Lindeorkest', 95), (0, 'Matthäus-Passion', 'klassiek', 'Het Lindeorkest', 180),
        (0, 'Soldaat van de Regen', 'musical', 'Musicalhuis Oranje', 150), (0, 'De Koningin van de Jordaan', 'musical', 'Musicalhuis Oranje', 145),
        (0, 'Nog één keer dan', 'cabaret', 'Freek van Oosten', 110), (0, 'Alles komt goed (bijna)', 'cabaret', 'Yara Tielen', 105),
        (0, 'Ode aan Ramses', 'muziek', 'Chansonband Zonder Bang', 120), (0, 'Flamenco Puro', 'dans', 'Compañía del Sur', 100),
        (1, 'Gesprekken in een lift', 'toneel', 'Theater Rust en Vuur', 85), (1, 'De Meiden', 'toneel', 'Collectief Kantelpunt', 90),
        (1, 'Het Pauperparadijs van oma', 'toneel', 'Volkstoneel De Kar', 100), (1, 'Zonder gebruiksaanwijzing', 'cabaret', 'Tim Buisman', 90),
        (1, 'Try-out: Grote Jongens', 'cabaret', 'Duo Van Vliet', 80), (1, 'Strijkkwartetten van Haydn', 'klassiek', 'Kwartet Belle-Vue', 90),
        (1, 'Jacques Brel, een leven', 'muziek', 'Het Havenorkest', 110), (1, 'Tango voor beginners', 'dans', 'Studio Sur', 75),
        (1, 'De Aardappeleters', 'toneel', 'Volkstoneel De Kar', 95), (1, 'Winterreise', 'klassiek', 'Bariton en vleugel', 75),
        (2, 'Kikker en de Sterren', 'jeugd', 'Jeugdtheater De Vlieger', 55), (2, 'Het Lelijke Jonge Eendje', 'jeugd', 'Jeugdtheater De Vlieger', 60),
        (2, 'Opa''s Zolder (4+)', 'jeugd', 'Poppentheater Kiekeboe', 50), (2, 'Pippi aan zee (6+)', 'jeugd', 'Familietheater Bont', 75),
        (2, 'De Gelaarsde Kat', 'jeugd', 'Familietheater Bont', 70), (2, 'Peter en de Wolf', 'klassiek', 'Het Lindeorkest', 60),
        (3, 'Nachtvlinders', 'toneel', 'Collectief Kantelpunt', 70), (3, 'Solo voor een stoel', 'dans', 'Studio Sur', 60),
        (3, 'Jazz in de Linde', 'muziek', 'Trio Verhoeven', 100), (3, 'Open podium', 'cabaret', null, 120),
        (3, 'Wat niet weet', 'toneel', 'Makershuis West', 75), (3, 'Lied zonder land', 'muziek', 'Ensemble Levant', 90),
        (4, 'Lunchconcert: piano', 'klassiek', 'Conservatorium', 45), (4, 'Lunchconcert: blazers', 'klassiek', 'Conservatorium', 45),
        (4, 'Lunchconcert: koor', 'klassiek', 'Kamerkoor De Linde', 45)
),
numbered as (
    select *, row_number() over (partition by place order by title) - 1 as number, count(*) over (partition by place) as many
    from productions
),
days as (
    select
        getvariable('sample_today') + ahead::integer as day,
        ahead between -1 and 14 as full_programme,
        getvariable('sample_today') + ahead::integer - date '2010-01-01' as day_number,
        isodow(getvariable('sample_today') + ahead::integer) as weekday
    from range(-730, 121) as t (ahead)
),
places (place, hall, stays, per_mille) as (
    values (0, 'Grote Zaal', 3, 700), (1, 'Kleine Zaal', 2, 550), (2, 'Grote Zaal', 4, 250), (3, 'Studio', 2, 300), (4, 'Foyer', 1, 200)
),
programme as (
    select
        *,
        case place
            when 0 then case when weekday = 7 then time '19:30' else time '20:15' end
            when 1 then case when weekday >= 5 then time '20:30' else time '20:00' end
            when 2 then case when weekday in (3, 6, 7) then time '14:30' else time '10:30' end
            when 3 then time '20:45'
            else time '12:30'
        end as starts
    from days cross join places
    where (full_programme and place <= 3) or sample.dice2(day_number, place, 'programme', 1000) < per_mille
)
select
    (day_number * 10 + place + 1)::bigint as performance_id,
    title,
    genre,
    hall,
    timezone('Europe/Amsterdam', day + starts) as starts_at,
    minutes::integer as duration_minutes,
    company,
    -- on every third day of the coming weeks one performance is blocked, otherwise one in a hundred
    case
        when full_programme and day_number % 3 = 0 then place = sample.dice(day_number, 'blocked place', 4)
        when full_programme then false
        else sample.dice2(day_number, place, 'blocked', 100) = 0
    end as block_service_mail
from programme
join numbered using (place)
where numbered.number = sample.dice2(day_number // stays, place, 'production', many)
order by performance_id;
