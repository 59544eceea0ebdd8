-- A colleague; nothing is changed when the address is somebody's already.
insert into smp.colleague (address, name, added_at, added_by)
values (%(address)s, %(name)s, %(now)s, %(by)s)
on conflict (address) where removed_at is null do nothing
returning colleague_id
