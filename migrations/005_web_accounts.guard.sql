lock table webui_users, api_keys in share row exclusive mode;

select 'webui_users: rows' as what, count(*) as rows from webui_users
union all
select 'api_keys: rows', count(*) from api_keys;
