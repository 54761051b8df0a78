-- The role that the services log in with, and what it may do in this database.
-- It gets no password here and cannot log in until it has one: alter role pinning_user login password '…'.
-- Where the connecting role may not create roles (a managed server, or pinning_user itself), that part is left out.

do $$
begin
  if not exists (select from pg_roles where rolname = 'pinning_user')
     and exists (select from pg_roles where rolname = current_user and (rolcreaterole or rolsuper)) then
    begin
      create role pinning_user nologin;
    exception
      -- Roles belong to the whole server: a run on another of its databases was faster.
      when duplicate_object or unique_violation then null;
    end;
  end if;

  if exists (select from pg_roles where rolname = 'pinning_user' and rolname <> current_user) then
    execute format('grant connect, temporary on database %I to pinning_user', current_database());
    grant usage on schema public to pinning_user;
    grant select, insert, update, delete on all tables in schema public to pinning_user;
    grant usage, select on all sequences in schema public to pinning_user;
    alter default privileges in schema public grant select, insert, update, delete on tables to pinning_user;
    alter default privileges in schema public grant usage, select on sequences to pinning_user;
  end if;
end
$$;
