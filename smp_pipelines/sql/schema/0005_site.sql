-- The site: what visitors submitted, what follows from it, and every sign that somebody was there.

-- One row per submission of a form. The key is in the form's hidden field: sent twice, it is one submission.
create table smp.submission (
    submission_id         bigint generated always as identity primary key,
    submission_key        uuid not null unique,
    form                  text not null,
    step                  text not null,
    person_id             bigint not null,
    record_id             bigint,
    identified            text not null check (identified in ('link', 'matched', 'new')),
    answers               jsonb not null,
    consents              jsonb not null default '[]',
    language              text not null,
    submitted_at          timestamptz not null,
    awaits_confirmation   boolean not null default false,
    confirmed_at          timestamptz,
    send_id               bigint,
    changed_tx            xid8 not null default pg_current_xact_id()
);
create index submission_person on smp.submission (person_id);
create index submission_changed on smp.submission (changed_tx);
comment on table smp.submission is 'Every submission of a form, with its typed answers; they are in the crm tables too';
comment on column smp.submission.identified is 'Who it is: by a personal link, matched to a person by a rule of the form, or a new person';
comment on column smp.submission.consents is 'What was asked of each topic, in which words, and the yes or no: a list of {topic, granted, wording}';
comment on column smp.submission.awaits_confirmation is 'Double opt-in: a yes in it counts once confirmed_at is filled';
comment on column smp.submission.send_id is 'The send whose mail led to the form, if one did';

-- New people get ids above those of any CRM; an import may bring lower ones.
create sequence smp.new_person_id start with 1000000000000;

-- What has to be mailed because of a submission: the outbox of trigger sends (F05). Written in the transaction of the
-- submission; send_id is filled by whoever makes a send of it, once.
create table smp.trigger_event (
    event_id      bigint generated always as identity primary key,
    step          text not null,
    person_id     bigint not null,
    record_id     bigint,
    submission_id bigint not null,
    cause         text not null check (cause in ('submitted', 'confirmed')),
    happened_at   timestamptz not null,
    send_id       bigint references smp.send (send_id),
    missed        text,
    unique (submission_id, step, cause)
);
create index trigger_event_waiting on smp.trigger_event (step, event_id) where send_id is null and missed is null;
create index trigger_event_person on smp.trigger_event (person_id, happened_at);
create index trigger_event_send on smp.trigger_event (send_id) where send_id is not null;
comment on table smp.trigger_event is 'The outbox: which trigger step is to be sent to whom because of which submission, and the send that took it';
comment on column smp.trigger_event.missed is 'Why it is not sent: late (its step went live more than late_minutes after it), no_record, too_many (for one address in an hour)';

-- Every request that a link, a picture or a page of ours got: people, mail programs and scanners alike.
create table smp.hit (
    hit_id        bigint generated always as identity primary key,
    kind          text not null check (kind in ('open', 'click', 'view', 'form', 'page')),
    happened_at   timestamptz not null,
    step          text not null,
    person_id     bigint,
    record_id     bigint,
    send_id       bigint,
    recipient_key uuid,
    submission_id bigint,
    link          text,
    method        text not null,
    prefetch      boolean not null default false,
    user_agent    text,
    network       inet,
    changed_tx    xid8 not null default pg_current_xact_id()
);
create index hit_person on smp.hit (person_id) where person_id is not null;
create index hit_changed on smp.hit (changed_tx);
comment on table smp.hit is 'Raw hits, kept as they came: opened mails, clicked links, forms and pages that were asked for';
comment on column smp.hit.step is 'The step whose mail, form or page it is';
comment on column smp.hit.link is 'click: where the link leads, as it stands in the template';
comment on column smp.hit.network is 'Where it came from, cut to a network (/24, /48): no single address is kept';
comment on column smp.hit.prefetch is 'The request itself said that nobody had asked for it yet';

-- Trigger sends are many and short: whoever looks for those that are not finished must not read all of them.
create index send_unfinished on smp.send (send_id) where state <> 'finished';

-- What the report file shows, so that nobody publishes it again while nothing changed.
create table smp.report_state (
    only_row     boolean primary key default true check (only_row),
    mirrored     pg_snapshot not null,
    published    pg_snapshot,
    published_at timestamptz
);
comment on column smp.report_state.mirrored is 'What the contact moments in the lake have seen of this database';
comment on column smp.report_state.published is 'What the latest report file shows of it';
