do $$
declare
  without_address bigint;
begin
  lock table user_wallets in share row exclusive mode;
  select count(*) into without_address from user_wallets where wallet_address is null;
  if without_address > 0 then
    raise exception 'Revert 019 aborted: % wallet(s) have no plain address.', without_address
      using hint = 'they cannot be told from their hash; remove those wallets first, or stay at 019.';
  end if;
end
$$;

alter table user_wallets alter column wallet_address set not null;
