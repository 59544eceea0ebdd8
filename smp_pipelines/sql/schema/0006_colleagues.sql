-- Who may open the pages for colleagues: no passwords, only links that were mailed or printed, and what they opened.

create table smp.colleague (
    colleague_id bigint generated always as identity primary key,
    address      text not null check (address = lower(btrim(address)) and address <> ''),
    name         text not null check (btrim(name) <> ''),
    added_at     timestamptz not null,
    added_by     text not null,
    removed_at   timestamptz,
    removed_by   text
);
create unique index colleague_address on smp.colleague (address) where removed_at is null;
comment on table smp.colleague is 'Who may sign in to the pages for colleagues; somebody who was removed stays as a row of the past';
comment on column smp.colleague.address is 'The e-mail address as it is compared: trimmed, in small letters';

create table smp.sign_in (
    token_hash   bytea primary key,
    colleague_id bigint not null references smp.colleague (colleague_id),
    made_at      timestamptz not null,
    expires_at   timestamptz not null,
    used_at      timestamptz
);
create index sign_in_colleague on smp.sign_in (colleague_id, made_at);
comment on table smp.sign_in is 'Links to sign in with, each good for one time; only a hash of what is in the link is kept';

create table smp.session (
    token_hash   bytea primary key,
    colleague_id bigint references smp.colleague (colleague_id),
    created_at   timestamptz not null,
    expires_at   timestamptz not null
);
create index session_colleague on smp.session (colleague_id);
comment on table smp.session is 'Browsers that are signed in; only a hash of their cookie is kept';
comment on column smp.session.colleague_id is 'Nobody in particular: whoever sits at the machine on which smp runs, and there only';
