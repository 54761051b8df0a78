drop table ledger_epochs;
