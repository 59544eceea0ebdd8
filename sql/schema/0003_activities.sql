-- What colleagues do for people, and what people ask of them. Flows write rows here; colleagues make and finish them.

create table crm.activity (
    activity_id bigint primary key,
    person_id   bigint not null references crm.person (person_id) on delete cascade,
    kind        text not null,
    subject     text not null,
    remark      text,
    owner       text,
    due_on      date,
    created_at  timestamptz not null,
    done_at     timestamptz
);
create index activity_person on crm.activity (person_id);
comment on table crm.activity is 'What colleagues do, or have done, for a person: a call, a visit, a letter';
comment on column crm.activity.kind is 'What it is: call, visit, letter, task';
comment on column crm.activity.owner is 'The colleague who does it; empty: whoever takes it up';
comment on column crm.activity.done_at is 'When it was done; empty: still to do';

create table crm.request (
    request_id bigint primary key,
    person_id  bigint not null references crm.person (person_id) on delete cascade,
    kind       text not null,
    subject    text not null,
    remark     text,
    created_at timestamptz not null,
    done_at    timestamptz
);
create index request_person on crm.request (person_id);
comment on table crm.request is 'What people ask of the theatre: a question, a complaint, a wish';
comment on column crm.request.kind is 'What it is: question, complaint, wish';
comment on column crm.request.done_at is 'When it was answered; empty: still open';
