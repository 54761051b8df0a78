do $$
declare
  guarded regclass;
begin
  for guarded in
    select tgrelid from pg_trigger where tgname = 'ledger_epoch' and tgfoid = 'refuse_stale_epoch'::regproc
     order by tgrelid::regclass::text
  loop
    execute format('drop trigger ledger_epoch on %s', guarded);
  end loop;
end
$$;
drop function refuse_stale_epoch();
