lock table credit_notes in share row exclusive mode;

select 'credit_notes: reasons and operators of corrections' as what, count(*) as rows from credit_notes;
