-- Everything in wallet_owners can be read from user_wallets again.

drop trigger user_wallets_owner on user_wallets;
drop function keep_wallet_owner();
drop table wallet_owners;
