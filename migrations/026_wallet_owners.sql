-- One owner for each verified wallet, whatever the chains: a deposit is credited to whom its sender's wallet belongs.
-- A unique index on user_wallets cannot say that, because one user may verify one wallet on several chains; so the
-- owner has a row of its own, kept by a trigger, and its primary key decides the race between two users.

create table wallet_owners (
  wallet_address_hash varchar(64) primary key,
  user_id varchar(64) not null
);

lock table user_wallets in share row exclusive mode;

do $check$
declare
  wallets bigint;
  examples text;
begin
  with contested as (
    select wallet_address_hash, string_agg(distinct user_id, ', ') as users
      from user_wallets
     where is_verified = 1 and wallet_address_hash is not null and user_id is not null
     group by wallet_address_hash
    having count(distinct user_id) > 1
  )
  select count(*),
         (select string_agg(format('wallet %s (users %s)', wallet_address_hash, users), '; ')
            from (select * from contested order by wallet_address_hash limit 10) as first)
    into wallets, examples
    from contested;
  if wallets > 0 then
    raise exception 'Migration 026 aborted: % wallet(s) are verified for more than one user.', wallets
      using detail = format('Contested: %s.', examples),
            hint = 'find out whose each is and set is_verified = 0 on the other rows of user_wallets.';
  end if;
end
$check$;

insert into wallet_owners (wallet_address_hash, user_id)
select distinct wallet_address_hash, user_id
  from user_wallets
 where is_verified = 1 and wallet_address_hash is not null and user_id is not null;

create function keep_wallet_owner() returns trigger
language plpgsql
as $$
begin
  if tg_op <> 'INSERT' and old.is_verified = 1 and (
       tg_op = 'DELETE' or new.is_verified is distinct from 1
       or new.wallet_address_hash is distinct from old.wallet_address_hash or new.user_id is distinct from old.user_id)
  then
    -- Locked first and looked at second, so that two rows of one wallet removed at the same time do not both
    -- see the other one still there.
    perform from wallet_owners where wallet_address_hash = old.wallet_address_hash for update;
    delete from wallet_owners as owner
     where owner.wallet_address_hash = old.wallet_address_hash
       and not exists (
         select from user_wallets as wallet
          where wallet.wallet_address_hash = owner.wallet_address_hash
            and wallet.user_id = owner.user_id
            and wallet.is_verified = 1);
  end if;

  if tg_op <> 'DELETE' and new.is_verified = 1
     and new.wallet_address_hash is not null and new.user_id is not null
  then
    -- The update that changes nothing locks the owner's row until this transaction ends.
    insert into wallet_owners as owner (wallet_address_hash, user_id)
    values (new.wallet_address_hash, new.user_id)
    on conflict (wallet_address_hash) do update
      set user_id = owner.user_id where owner.user_id = excluded.user_id;
    if not found then
      raise unique_violation using
        message = format('wallet %s is verified for another user', new.wallet_address_hash),
        constraint = 'wallet_owners_pkey',
        table = 'wallet_owners';
    end if;
  end if;
  return null;
end
$$;

create trigger user_wallets_owner after insert or update or delete on user_wallets
  for each row execute function keep_wallet_owner();
