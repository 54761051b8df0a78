-- A later scan begins at the start blocks again and finds what is recorded.

drop table chain_blocks;
alter table chain_sync_state
  drop constraint chain_sync_state_scanned,
  drop constraint chain_sync_state_settled,
  drop constraint chain_sync_state_halted,
  drop column start_block,
  drop column scanned_block,
  drop column scanned_hash,
  drop column settled_block,
  drop column settled_hash,
  drop column last_error,
  drop column halted_because,
  drop column halted_at;
