select format('column %s.%s %s', t, c, split_part(types, '|', 1)) as part,
       exists (
         select from pg_attribute
          where attrelid = to_regclass('public.' || t) and attname = c and not attisdropped
            and format_type(atttypid, atttypmod) = any (string_to_array(types, '|'))
       ) as present
  from (values
    ('referral_codes', 'id', 'integer|bigint'),
    ('referral_codes', 'user_email', 'text'),
    ('referral_codes', 'code', 'text'),
    ('referral_codes', 'created_at', 'timestamp with time zone'),
    ('referral_codes', 'name', 'text'),
    ('referral_codes', 'is_default', 'boolean'),
    ('referral_codes', 'inherited_name', 'text'),
    ('referral_codes', 'user_id', 'character varying(64)'),
    ('referrals', 'id', 'integer|bigint'),
    ('referrals', 'referrer_email', 'text'),
    ('referrals', 'referred_email', 'text'),
    ('referrals', 'referral_code', 'text'),
    ('referrals', 'referred_at', 'timestamp with time zone'),
    ('referrals', 'referrer_id', 'character varying(64)'),
    ('referrals', 'referred_id', 'character varying(64)'),
    ('referral_bonuses', 'id', 'integer|bigint'),
    ('referral_bonuses', 'credit_history_id', 'integer|bigint'),
    ('referral_bonuses', 'recipient_user_id', 'character varying(64)'),
    ('referral_bonuses', 'recipient_referral_code', 'text'),
    ('referral_bonuses', 'source_credit_history_id', 'integer|bigint'),
    ('referral_bonuses', 'source_user_id', 'character varying(64)'),
    ('referral_bonuses', 'source_referral_code', 'text'),
    ('referral_bonuses', 'level', 'integer'),
    ('referral_bonuses', 'bonus_amount_fula', 'numeric(30,8)|numeric(38,18)'),
    ('referral_bonuses', 'source_amount_fula', 'numeric(30,8)|numeric(38,18)'),
    ('referral_bonuses', 'created_at', 'timestamp with time zone')
  ) as wanted (t, c, types)
union all
select 'unique index ' || i, exists (select from pg_index where indexrelid = to_regclass('public.' || i) and indisunique)
  from (values
    ('referral_codes_pkey'),
    ('referral_codes_code_key'),
    ('referrals_pkey'),
    ('idx_referrals_referred_id_unique'),
    ('referral_bonuses_pkey'),
    ('referral_bonuses_source_credit_history_id_level_key')
  ) as wanted (i)
union all
select 'index ' || i, to_regclass('public.' || i) is not null
  from (values
    ('idx_referral_codes_code'),
    ('idx_referral_codes_email'),
    ('idx_referral_codes_user_email'),
    ('idx_referral_codes_user_email_default'),
    ('idx_referral_codes_user_id'),
    ('idx_referrals_referrer'),
    ('idx_referrals_referred'),
    ('idx_referrals_referrer_id'),
    ('idx_referrals_referred_id'),
    ('idx_referral_bonuses_recipient_code'),
    ('idx_referral_bonuses_source')
  ) as wanted (i)
union all
select format('constraint %s on %s', c, t),
       exists (select from pg_constraint where conrelid = to_regclass('public.' || t) and conname = c)
  from (values
    ('referral_codes', 'fk_referral_codes_user_id'),
    ('referrals', 'fk_referrals_referral_code'),
    ('referrals', 'fk_referrals_referred_id'),
    ('referrals', 'fk_referrals_referrer_id'),
    ('referral_bonuses', 'referral_bonuses_credit_history_id_fkey'),
    ('referral_bonuses', 'referral_bonuses_level_check'),
    ('referral_bonuses', 'referral_bonuses_source_credit_history_id_fkey')
  ) as wanted (t, c);
