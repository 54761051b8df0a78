-- The entries stay in the ledger; why and by whom they were made is lost.

drop table credit_notes;
