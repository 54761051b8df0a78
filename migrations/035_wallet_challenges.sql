-- Texts that users were asked to sign with a wallet, so that it can be linked to their account: each is good once, for ten
-- minutes, for one user, wallet and chain. The text itself is not kept: it follows from this row, the nonce and the
-- address (src/lib/billing/wallet-message.ts), of which only the hashes stand here.

create table wallet_challenges (
  -- SHA-256 of the nonce, lower-case hex.
  nonce_hash varchar(64) primary key,
  user_id varchar(64) not null,
  -- As in user_wallets.wallet_address_hash.
  wallet_address_hash varchar(64) not null,
  chain_id bigint not null,
  issued_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  constraint wallet_challenges_times check (expires_at > issued_at)
);
create index wallet_challenges_expires on wallet_challenges (expires_at);
