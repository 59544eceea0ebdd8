-- What names, streets and towns are chosen from. A word that stands here twice is chosen twice as
-- often. Each table has a place from 0 up to 1024 for every word, several for each: a join on
-- dice(…, 1024) chooses one, which is far faster than taking an element of a list per person.

-- As an e-mail address has it: lower case without accents, spaces and hyphens.
create or replace macro sample.ascii(word) as
    regexp_replace(lower(strip_accents(replace(word, 'ı', 'i'))), '[^a-z]', '', 'g');

create or replace temp table sample_first_name as
with names as (
    select true as woman, [
        'Anna', 'Anna', 'Emma', 'Emma', 'Sophie', 'Julia', 'Lotte', 'Sanne', 'Sanne', 'Fleur', 'Eva', 'Lisa', 'Lisa',
        'Femke', 'Marieke', 'Marijke', 'Marijke', 'Johanna', 'Maria', 'Maria', 'Elisabeth', 'Cornelia', 'Wilhelmina',
        'Petra', 'Ingrid', 'Monique', 'Saskia', 'Esther', 'Linda', 'Annemarie', 'Anouk', 'Noor', 'Roos', 'Iris',
        'Merel', 'Maud', 'Tess', 'Hanneke', 'Ineke', 'Joke', 'Tineke', 'Gerda', 'Ria', 'Truus', 'Yvonne', 'Karin',
        'Mirjam', 'Fatima', 'Samira', 'Aylin', 'Naima', 'Priya', 'Chantal', 'Renée', 'Zoë', 'Loïs', 'Danique', 'Isa',
        'Nienke', 'Wietske', 'Jantine', 'Margreet', 'Agnes', 'Els'
    ] as words
    union all
    select false, [
        'Jan', 'Jan', 'Piet', 'Kees', 'Kees', 'Daan', 'Daan', 'Sem', 'Lucas', 'Levi', 'Bram', 'Thijs', 'Thijs',
        'Jeroen', 'Mark', 'Martijn', 'Peter', 'Peter', 'Johan', 'Willem', 'Hendrik', 'Cornelis', 'Gerrit', 'Dirk',
        'Frank', 'Erik', 'Rob', 'Ruud', 'Bas', 'Tim', 'Tom', 'Stijn', 'Sander', 'Niels', 'Joost', 'Wouter', 'Maarten',
        'Pieter', 'Jurre', 'Teun', 'Gijs', 'Hugo', 'Mohammed', 'Youssef', 'Mehmet', 'Rachid', 'Ravi', 'André', 'René',
        'Joël', 'Sjoerd', 'Wiebe', 'Koen', 'Ton', 'Ad', 'Leo', 'Hans', 'Hans', 'Theo', 'Jaap', 'Arie', 'Geert',
        'Marcel', 'Ronald'
    ]
)
select woman, place, words[place % len(words) + 1] as name, sample.ascii(words[place % len(words) + 1]) as plain
from names cross join range(1024) as t (place);

create or replace temp table sample_last_name as
with names as (
    select [  -- infix/name
        '/Jansen', '/Jansen', 'de/Jong', 'de/Jong', 'de/Vries', 'de/Vries', 'van den/Berg', 'van den/Berg',
        'van/Dijk', 'van/Dijk', '/Bakker', '/Bakker', '/Janssen', '/Visser', '/Smit', '/Meijer', 'de/Boer', '/Mulder',
        'de/Groot', '/Bos', '/Vos', '/Peters', '/Hendriks', 'van/Leeuwen', '/Dekker', '/Brouwer', 'de/Wit',
        '/Dijkstra', '/Smits', 'de/Graaf', 'van der/Meer', 'van der/Linden', '/Kok', '/Jacobs', 'de/Haan',
        '/Vermeulen', 'van den/Heuvel', 'van der/Veen', 'van den/Broek', 'de/Bruijn', 'van der/Heijden', '/Schouten',
        'van/Beek', '/Willems', 'van/Vliet', 'van de/Ven', '/Hoekstra', '/Maas', '/Verhoeven', '/Koster', 'van/Dam',
        'van de/Pol', '/Prins', '/Blom', '/Huisman', '/Postma', '/Veenstra', 'van de/Wiel', 'ter/Horst', 'ten/Cate',
        'op den/Camp', 'in ''t/Veld', 'van ''t/Hof', '/Yılmaz', 'el/Idrissi', '/Öztürk', '/Benali', '/Nguyen',
        '/Ramdin', '/Müller', '/Wouters', '/Kuiper-de Lange'
    ] as words
),
places as (
    select place, string_split(words[place % len(words) + 1], '/') as word from names cross join range(1024) as t (place)
)
select
    place, nullif(word[1], '') as infix, word[2] as name, sample.ascii(word[1] || word[2]) as plain,
    -- as it stands without a first name before it: De Jong, Van den Berg
    upper(left(trim(word[1] || ' ' || word[2]), 1)) || substr(trim(word[1] || ' ' || word[2]), 2) as formal_name
from places;

create or replace temp table sample_street as
with streets as (
    select [
        'Dorpsstraat', 'Kerkstraat', 'Kerkstraat', 'Hoofdstraat', 'Molenstraat', 'Schoolstraat', 'Stationsweg',
        'Julianalaan', 'Wilhelminastraat', 'Beatrixlaan', 'Oranjelaan', 'Nieuwstraat', 'Parallelweg', 'Lindelaan',
        'Eikenlaan', 'Beukenlaan', 'Kastanjelaan', 'Wilgenstraat', 'Populierenlaan', 'Meidoornstraat', 'Vondelstraat',
        'Rembrandtlaan', 'Vermeerstraat', 'Frans Halsstraat', 'Mozartlaan', 'Beethovenstraat', 'Troelstralaan',
        'Thorbeckestraat', 'Oudegracht', 'Nieuwegracht', 'Singel', 'Havenstraat', 'Kade', 'Sluisweg', 'Dijkweg',
        'Zandweg', 'Veldweg', 'Bosweg', 'Heideweg', 'Duinlaan', 'Burgemeester Reigerstraat', 'Prins Hendriklaan',
        'Jan van Scorelstraat', 'Admiraal Helfrichlaan', 'Marktstraat', 'Achter de Dom', 'Plantsoen', 'Torenstraat',
        'Weverstraat', 'Bakkerstraat', 'Smidsstraat', 'Tuinstraat', 'Maliebaan'
    ] as words
)
select place, words[place % len(words) + 1] as name from streets cross join range(1024) as t (place);

-- Towns with their postal codes, from `low` up to and including `high`, and how often they are chosen.
create or replace temp table sample_town as
with towns (name, low, high, weight) as (
    values
        ('Utrecht', 3511, 3585, 6), ('Zeist', 3701, 3709, 2), ('Amersfoort', 3811, 3829, 2),
        ('Nieuwegein', 3431, 3439, 2), ('Houten', 3991, 3995, 2), ('Bilthoven', 3721, 3723, 1),
        ('De Bilt', 3731, 3732, 1), ('Woerden', 3441, 3449, 1), ('Maarssen', 3601, 3608, 1), ('Soest', 3761, 3768, 1),
        ('Hilversum', 1211, 1223, 1), ('Culemborg', 4101, 4107, 1), ('Gouda', 2801, 2809, 1),
        ('Amsterdam', 1011, 1109, 1), ('Rotterdam', 3011, 3089, 1), ('Den Haag', 2491, 2597, 1),
        ('Leiden', 2311, 2334, 1), ('Haarlem', 2011, 2037, 1), ('Arnhem', 6811, 6846, 1), ('Nijmegen', 6511, 6546, 1),
        ('Zwolle', 8011, 8043, 1), ('Eindhoven', 5611, 5658, 1), ('''s-Hertogenbosch', 5211, 5237, 1)
),
numbered as (
    select *, row_number() over (order by name) - 1 as turn, count(*) over () as many
    from towns cross join lateral (select unnest(range(weight)))
)
select t.place, n.name, n.low, n.high
from range(1024) as t (place) join numbered as n on n.turn = t.place % n.many;

create or replace temp table sample_domain as
with domains as (
    select [
        'post.example', 'post.example', 'thuis.example', 'thuis.example', 'mail.example', 'mail.example',
        'kabel.example', 'zonnet.example', 'brievenbus.example', 'werk.example', 'dekantoren.example',
        'school.example'
    ] as words
)
select place, words[place % len(words) + 1] as name from domains cross join range(1024) as t (place);

-- The two letters of a postal code; SA, SD and SS are never given out.
create or replace macro sample.postal_letters(number, what) as
    substr('ABCDEGHJKLMNPRTVWXZ', 1 + sample.dice(number, what || ' first', 19), 1)
    || substr('ABCDEGHJKLMNPRSTVWXZ', 1 + sample.dice(number, what || ' second', 20), 1);
