select 'column user_wallets.wallet_address may be null' as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.user_wallets') and attname = 'wallet_address' and not attnotnull
       ) as present;
