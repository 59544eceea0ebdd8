-- Yes, no or nothing known, per channel and topic. `yes` and `no` are per mille.
create or replace table sample.consent as
with topics (channel, topic, yes, no, yes_wording, no_wording) as (
    values
        ('email', 'service', 0, 20, '', 'Ik wil geen servicemails vooraf aan mijn bezoek'),
        ('email', 'newsletter', 550, 150, 'Ja, houd mij op de hoogte met de nieuwsbrief', 'Ik wil de nieuwsbrief niet (meer) ontvangen'),
        ('email', 'offers', 330, 140, 'Ja, stuur mij aanbiedingen en lastminutes per e-mail', 'Ik wil geen aanbiedingen per e-mail'),
        ('post', 'offers', 90, 40, 'Ja, stuur mij de seizoensbrochure per post', 'Ik wil geen post van de schouwburg')
),
answers as (
    select
        p.person_id, t.*,
        sample.dice2(p.person_id, t.channel || ' ' || t.topic, 'consent', 1000) as answer,
        sample.dice2(p.person_id, t.channel || ' ' || t.topic, 'consent source', 10) as source_dice
    from sample.person as p cross join topics as t
    where not (p.internal_test and t.topic = 'service')
)
select
    person_id,
    channel,
    topic,
    answer < yes as granted,
    to_timestamp(sample.seconds_since(person_id, 'consent moment ' || channel || topic)) as changed_at,
    case
        when answer < yes then case
            when source_dice < 5 then 'webshop' when source_dice < 7 then 'kassa' when source_dice < 9 then 'inschrijfformulier'
            else 'telefoon'
        end
        when source_dice < 5 then 'afmeldlink'
        when source_dice < 8 then 'voorkeurencentrum'
        when source_dice < 9 then 'telefoon'
        else 'brief'
    end as source,
    case when answer < yes then yes_wording else no_wording end as wording
from answers
where answer < yes + no
order by person_id, channel, topic;

-- Addresses that are never mailed. A family that shares an address is one address.
create or replace table sample.suppression as
select
    lower(trim(email)) as email_key,
    sample.pick(min(person_id), 'suppression reason', ['hard bounce', 'hard bounce', 'hard bounce', 'complaint', 'by hand']) as reason,
    min(to_timestamp(sample.seconds_since(person_id, 'suppressed'))) as since
from sample.person
where email is not null and not internal_test
group by all
having sample.dice(min(person_id), 'suppressed', 1000) < 5
order by email_key;
