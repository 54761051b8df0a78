-- Deposits by the place of their transfer: a transaction may hold several, a block may go away again, and a sender may
-- link his wallet later. A row's state says what becomes of it, and it is credited under a reference that never changes.
-- UNIQUE (tx_hash, chain_id) goes with the scanners that named it: one credit for a transaction lost the second transfer.

lock table token_transactions in access exclusive mode;

alter table token_transactions
  drop constraint token_transactions_tx_hash_chain_id_key,
  -- What the token's contract counts in, exactly.
  add column raw numeric(78, 0),
  -- The token's contract, in lower case; null until our scanner has seen it.
  add column token_address text,
  -- The block that holds it; null in rows of scanners that did not write it down: those are not credited before ours has seen them.
  add column block_hash text,
  -- 'waiting': not deep enough yet. 'unclaimed': settled, and credited as soon as the sender's wallet has an owner.
  -- 'credited'. 'dust': too little. 'orphaned': its block is no part of the chain any more. 'refused': not to be credited; note says why.
  -- 'reversed': was credited, and an operator has taken it back.
  add column state text not null default 'unclaimed',
  -- Hex SHA-256 of the sender's address in lower case, as in wallet_owners.
  add column sender_hash varchar(64),
  -- The ledger's reference that it has, or will have.
  add column reference text,
  add column entry_id bigint references credit_history (id),
  -- The head at which a credited deposit was found to be gone from the chain; null while it is there.
  add column lost_at_block bigint,
  add column note text,
  add constraint token_transactions_state
    check (state in ('waiting', 'unclaimed', 'credited', 'dust', 'orphaned', 'refused', 'reversed'));

update token_transactions t
   set raw = case when t.amount_raw ~ '^\d{1,78}$' then t.amount_raw::numeric end,
       sender_hash = encode(sha256(convert_to(lower(t.from_address), 'UTF8')), 'hex'),
       reference = lower(format('%s:%s', t.chain_id, t.tx_hash)),
       entry_id = e.id,
       -- Claimed without an entry: billing verify names it, and an operator decides.
       state = case when e.id is not null or t.claimed_at is not null then 'credited'
                    when t.amount_raw !~ '^\d{1,78}$' then 'refused'
                    else 'unclaimed' end,
       note = case when e.id is null and t.claimed_at is null and t.amount_raw !~ '^\d{1,78}$'
                   then 'its amount cannot be read' end
  from token_transactions own
  left join credit_history e
    on e.tx_type = 'deposit' and lower(e.reference_id) = lower(format('%s:%s', own.chain_id, own.tx_hash))
 where own.id = t.id;

-- One hash written in two ways is one transaction: the row that was credited stands for it, else the older one.
with ranked as (
  select id, row_number() over (partition by chain_id, lower(tx_hash)
                                    order by (claimed_at is not null) desc, id) as place
    from token_transactions
)
update token_transactions t
   set state = 'refused', note = 'the same transaction as another row', entry_id = null,
       reference = format('%s#row-%s', t.reference, t.id)
  from ranked r
 where r.id = t.id and r.place > 1;

update token_transactions set tx_hash = lower(tx_hash)
 where tx_hash <> lower(tx_hash) and state <> 'refused';

alter table token_transactions
  alter column reference set not null,
  alter column sender_hash set not null;

create unique index idx_token_transactions_reference on token_transactions (reference);
create index idx_token_transactions_unclaimed on token_transactions (sender_hash, id) where state = 'unclaimed';
create index idx_token_transactions_block on token_transactions (chain_id, block_number);
create index idx_token_transactions_lost on token_transactions (chain_id) where lost_at_block is not null;

-- What software writes that knows a transaction alone: its claim of a deposit that is recorded here counts as the credit
-- that it is about to make, and a transaction that is recorded by its transfers cannot be recorded again as a whole.
create function keep_deposit() returns trigger
language plpgsql
as $$
begin
  new.tx_hash := lower(new.tx_hash);
  new.sender_hash := encode(sha256(convert_to(lower(new.from_address), 'UTF8')), 'hex');
  if tg_op = 'UPDATE' then
    if new.claimed_at is not null and old.claimed_at is null and new.state = old.state and old.state <> 'credited' then
      new.state := 'credited';
      new.note := 'claimed by other software';
      new.reference := lower(format('%s:%s', new.chain_id, new.tx_hash));
    end if;
    return new;
  end if;
  if new.reference is null then
    if new.log_index = -1
       and exists (select from token_transactions t where t.tx_hash = new.tx_hash and t.chain_id = new.chain_id)
    then
      raise unique_violation using
        message = format('transaction %s of chain %s is recorded already', new.tx_hash, new.chain_id),
        constraint = 'token_transactions_transfer',
        table = 'token_transactions';
    end if;
    new.reference := case when new.log_index = -1 then format('%s:%s', new.chain_id, new.tx_hash)
                          else format('%s:%s:%s', new.chain_id, new.tx_hash, new.log_index) end;
    new.raw := case when new.amount_raw ~ '^\d{1,78}$' then new.amount_raw::numeric end;
    if new.claimed_at is not null then
      new.state := 'credited';
    end if;
  end if;
  return new;
end
$$;

create trigger token_transactions_deposit before insert or update on token_transactions
  for each row execute function keep_deposit();
