-- Where the ledger has had another primary, sessions that mean that one are refused by these triggers alone.

lock table ledger_epochs in share row exclusive mode;

select 'ledger_epochs: changes of the primary that sessions are checked against' as what,
       greatest(count(*) - 1, 0) as rows
  from ledger_epochs;
