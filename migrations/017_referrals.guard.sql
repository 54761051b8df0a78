lock table referral_codes, referrals, referral_bonuses in share row exclusive mode;

select 'referral_codes: rows' as what, count(*) as rows from referral_codes
union all
select 'referrals: rows', count(*) from referrals
union all
select 'referral_bonuses: rows', count(*) from referral_bonuses;
