-- Without its epochs nobody can tell any more whether a server has the same history as another.

lock table ledger_epochs in share row exclusive mode;

select 'ledger_epochs: epochs of the ledger' as what, count(*) as rows from ledger_epochs;
