-- Wallets are kept as a hash and an encrypted address; the plain address may be left out.

alter table user_wallets alter column wallet_address drop not null;
