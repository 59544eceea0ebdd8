-- What visitors fill in on the site. A form's table has one row per submission: its key is submission_id.

create table crm.registration (
    submission_id bigint primary key,
    person_id     bigint not null references crm.person (person_id) on delete cascade,
    submitted_at  timestamptz not null,
    tour          text not null,
    guests        integer not null default 0,
    remark        text
);
create index registration_person on crm.registration (person_id);
comment on table crm.registration is 'Registrations for the open house: one row per submission of the form';
comment on column crm.registration.tour is 'Which tour behind the scenes: morning, afternoon or none';
comment on column crm.registration.guests is 'How many people come along';

create table crm.survey_answer (
    submission_id  bigint primary key,
    person_id      bigint not null references crm.person (person_id) on delete cascade,
    performance_id bigint references crm.performance (performance_id),
    submitted_at   timestamptz not null,
    rating         integer not null,
    recommend      boolean not null default false,
    remark         text
);
create index survey_answer_person on crm.survey_answer (person_id);
comment on table crm.survey_answer is 'What visitors thought of a performance: one row per submission of the survey';
comment on column crm.survey_answer.rating is '1 (not good) to 5 (wonderful)';
