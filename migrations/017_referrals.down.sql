drop table referral_bonuses;
drop table referrals;
drop table referral_codes;
