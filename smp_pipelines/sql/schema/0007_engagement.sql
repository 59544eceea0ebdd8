-- Engagement: which hits are people's, and with them the contact moments that are no sent mail (F15, F48).
-- Hits stay as they came; what they mean is in views whose names carry a version. A better way to tell people from
-- programs becomes hit_sign_2 and hit_class_2 in a later file, beside these.

drop index smp.hit_person;
create index hit_person on smp.hit (person_id, happened_at) where person_id is not null;

-- Who said no to a topic by the link in which mail. The no itself is in crm.consent.
create table smp.unsubscription (
    send_id       bigint not null,
    recipient_key uuid not null,
    step          text not null,
    person_id     bigint not null,
    record_id     bigint,
    topics        text[] not null,
    happened_at   timestamptz not null,
    source        text not null,
    changed_tx    xid8 not null default pg_current_xact_id(),
    primary key (send_id, recipient_key)
);
create index unsubscription_person on smp.unsubscription (person_id);
create index unsubscription_changed on smp.unsubscription (changed_tx);
comment on table smp.unsubscription is 'Which mail made somebody unsubscribe: the first time that its link changed a consent';

create function smp.agent_sign_1(user_agent text) returns text language sql immutable parallel safe as $$
    -- a Cubot is a telephone; no look-arounds and no \M in here, they make a pattern twenty times as slow
    select case
        when user_agent is null then 'no_agent'
        when user_agent = 'Mozilla/5.0' then 'privacy_proxy'
        when said ~ 'googleimageproxy|yahoomailproxy|yahoocachesystem' then 'image_proxy'
        when said ~
            'barracuda|proofpoint|mimecast|messagelabs|symantec|fireeye|trellix|trend ?micro|ironport|sophos|forcepoint|'
            'safelinks|existence discovery|zscaler|fortimail|fortiguard|avanan|checkpoint|spamexperts|mailscanner|'
            'mailmarshal|spamassassin|urldefense|vade ?secure|google-safety|securebrowsing|phish'
            then 'scanner_agent'
        when said ~
            'bot([^a-z]|$)|crawl|spider|slurp|facebookexternalhit|whatsapp/|skypeuripreview|bingpreview|embedly|'
            'feedfetcher|mediapartners|link.?check|url.?check|w3c_validator|validator.nu|uptime|pingdom|monitor|'
            'headless|phantomjs|selenium|puppeteer|playwright|lighthouse|'
            'curl/|wget/|python|java/|okhttp|go-http-client|libwww|httpclient|axios|node-fetch|undici|scrapy|ruby|'
            'perl|php/|aiohttp|httpx|winhttp|postman'
            then 'bot_agent'
    end
    from (select replace(lower(user_agent), 'cubot', '') as said) as x
$$;
comment on function smp.agent_sign_1 is 'What the name of a program says: why a hit of it is no person''s, or image_proxy; null: nothing';

-- What tells each hit by itself and beside the other clicks in the same mail. In these views `offset 0` makes a value
-- be worked out once; written into each place where it is read, it took milliseconds a hit.
create view smp.hit_sign_1 as
select h.*, judged.sign
from smp.hit as h
left join smp.message as m on m.send_id = h.send_id and m.recipient_key = h.recipient_key
cross join lateral (
    select
        case
            when h.method = 'HEAD' then 'head'
            when h.prefetch then 'prefetch'
            when named.sign <> 'image_proxy' then named.sign
            -- Answers of the mail server are written down in batches: the moment of a mail may be some seconds late.
            when m.state = 'claimed' and h.kind in ('open', 'click', 'view') then 'too_soon'
            when
                m.state = 'accepted'
                and h.kind in ('open', 'click', 'view')
                and h.happened_at between m.settled_at - interval '10 seconds' and m.settled_at + interval '2 seconds'
                then 'too_soon'
            when
                h.kind = 'click'
                and exists (
                    select 1 from smp.hit as o
                    where o.person_id = h.person_id
                      and o.happened_at between h.happened_at - interval '1 second' and h.happened_at + interval '1 second'
                      and o.kind = 'click'
                      and o.send_id = h.send_id
                      and o.recipient_key = h.recipient_key
                      and o.link <> h.link
                )
                then 'many_links'
            else named.sign
        end as sign
    from (select smp.agent_sign_1(h.user_agent) as sign offset 0) as named
    offset 0
) as judged;

create view smp.hit_class_1 as
select
    s.hit_id, s.kind, s.happened_at, s.step, s.person_id, s.record_id, s.send_id, s.recipient_key, s.submission_id,
    s.link, s.method, s.prefetch, s.user_agent, s.network, s.changed_tx, judged.sign,
    case
        when judged.sign is null or judged.sign = 'image_proxy' then 'person'
        when judged.sign = 'privacy_proxy' then 'proxy'
        when judged.sign in ('no_agent', 'bot_agent') then 'bot'
        else 'scanner'
    end as class
from smp.hit_sign_1 as s
cross join lateral (
    select
        case
            when
                s.sign is null
                and s.kind in ('form', 'page')
                and exists (
                    select 1 from smp.hit_sign_1 as c
                    where c.person_id = s.person_id
                      and c.happened_at between s.happened_at - interval '2 seconds' and s.happened_at
                      and c.kind = 'click'
                      and c.network is not distinct from s.network
                      and c.sign <> 'image_proxy'
                )
                then 'after_scanner'
            else s.sign
        end as sign
    offset 0
) as judged;
comment on view smp.hit_class_1 is 'Every hit with whose it was: person, scanner (of mail), bot or proxy; figures count people only';

-- Once per person, step, kind, send or submission, and record. Hits of test and internal sends are nobody's.
create view smp.reaction as
select
    h.person_id,
    h.step,
    case when h.kind in ('open', 'click', 'view') then 'email' else h.kind end as channel,
    k.kind,
    min(h.happened_at) as happened_at,
    'happened' as outcome,
    h.record_id,
    h.send_id,
    h.submission_id,
    (array_agg(h.link order by h.happened_at, h.hit_id))[1] as link,
    count(*) as hits
from smp.hit_class_1 as h
cross join lateral (
    select case h.kind
        when 'click' then 'clicked' when 'form' then 'form_opened' when 'page' then 'page_seen' else 'opened'
    end as kind
) as k
left join smp.send as s on s.send_id = h.send_id
where h.class = 'person' and h.person_id is not null and coalesce(s.purpose, 'live') = 'live'
group by 1, 2, 3, 4, h.record_id, h.send_id, h.submission_id
union all
select
    u.person_id, u.step, 'form', e.kind, e.happened_at,
    case when e.kind = 'form_submitted' and u.awaits_confirmation and u.confirmed_at is null then 'unconfirmed' else 'happened' end,
    u.record_id, u.send_id, u.submission_id, null, 1
from smp.submission as u
cross join lateral (values ('form_submitted', u.submitted_at), ('confirmed', u.confirmed_at)) as e (kind, happened_at)
left join smp.send as s on s.send_id = u.send_id
where e.happened_at is not null and coalesce(s.purpose, 'live') = 'live'
union all
select u.person_id, u.step, 'email', 'unsubscribed', u.happened_at, 'happened', u.record_id, u.send_id, null, null, 1
from smp.unsubscription as u
join smp.send as s on s.send_id = u.send_id
where s.purpose = 'live';
comment on view smp.reaction is 'Contact moments other than sent mails: opened, clicked, form_opened, form_submitted, page_seen, confirmed, unsubscribed';
