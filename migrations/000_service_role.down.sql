-- The role itself stays: it belongs to the whole server.

do $$
begin
  if exists (select from pg_roles where rolname = 'pinning_user' and rolname <> current_user) then
    alter default privileges in schema public revoke select, insert, update, delete on tables from pinning_user;
    alter default privileges in schema public revoke usage, select on sequences from pinning_user;
    revoke select, insert, update, delete on all tables in schema public from pinning_user;
    revoke usage, select on all sequences in schema public from pinning_user;
    revoke usage on schema public from pinning_user;
    execute format('revoke connect, temporary on database %I from pinning_user', current_database());
  end if;
end
$$;
