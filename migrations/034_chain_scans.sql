-- How far each chain was looked through for deposits, and by which blocks a reorganisation is noticed. The fleet's
-- last_scanned_block is no such mark: it moves over blocks that nobody looked at. Ours begins at the chain's start block.

alter table chain_sync_state
  -- The lowest block from which it was ever to be looked at; a lower one has it looked at from there.
  add column start_block bigint,
  -- The head at the last look, and its hash.
  add column scanned_block bigint,
  add column scanned_hash text,
  -- Up to here everything was looked at under enough confirmations; what it held is settled.
  add column settled_block bigint,
  add column settled_hash text,
  -- What the last look ended with; null = well.
  add column last_error text,
  -- Why nobody looks any more until an operator says so: fula-master billing chains resume.
  add column halted_because text,
  add column halted_at timestamptz,
  add constraint chain_sync_state_scanned check ((scanned_block is null) = (scanned_hash is null)),
  add constraint chain_sync_state_settled check ((settled_block is null) = (settled_hash is null)),
  add constraint chain_sync_state_halted check ((halted_because is null) = (halted_at is null));

-- Hashes of blocks that were looked at, not deeper than a reorganisation may reach.
create table chain_blocks (
  chain_id integer not null references chain_sync_state (chain_id) on delete cascade,
  block_number bigint not null,
  block_hash text not null,
  primary key (chain_id, block_number)
);
