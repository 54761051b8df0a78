drop table api_keys;
drop table webui_users;
