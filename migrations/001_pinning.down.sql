drop table logins;
drop table pins;
drop table sessions;
drop table users;
drop function update_updated_at_column();
