lock table users, sessions, pins, logins in share row exclusive mode;

select 'users: rows' as what, count(*) as rows from users
union all
select 'sessions: rows', count(*) from sessions
union all
select 'pins: rows', count(*) from pins
union all
select 'logins: rows', count(*) from logins;
