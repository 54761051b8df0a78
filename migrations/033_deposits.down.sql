-- The rows stay; where a transaction has several transfers the old key cannot hold them, so this is refused even by force.

lock table token_transactions in access exclusive mode;

do $check$
declare
  transactions bigint;
begin
  select count(*) into transactions
    from (select from token_transactions group by tx_hash, chain_id having count(*) > 1) as several;
  if transactions > 0 then
    raise exception 'Revert 033 aborted: % transaction(s) hold several transfers, which the old key cannot keep.', transactions
      using hint = 'stay on this version: older scanners would credit one transfer of each.';
  end if;
end
$check$;

drop trigger token_transactions_deposit on token_transactions;
drop function keep_deposit();
drop index idx_token_transactions_reference;
drop index idx_token_transactions_unclaimed;
drop index idx_token_transactions_block;
drop index idx_token_transactions_lost;
alter table token_transactions
  drop constraint token_transactions_state,
  drop column raw,
  drop column token_address,
  drop column block_hash,
  drop column state,
  drop column sender_hash,
  drop column reference,
  drop column entry_id,
  drop column lost_at_block,
  drop column note,
  add constraint token_transactions_tx_hash_chain_id_key unique (tx_hash, chain_id);
