-- An older scanner takes what is recorded and not claimed for nobody's, and a deposit that waits for a credited one.

lock table token_transactions in share row exclusive mode;

select 'token_transactions: deposits with the state that they are in' as what, count(*) as rows
  from token_transactions where block_hash is not null;
