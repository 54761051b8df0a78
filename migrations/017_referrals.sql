-- baseline
-- Who brought whom, and the bonuses that came of it.

create table referral_codes (
  id serial primary key,
  user_email text,
  code text not null unique,
  created_at timestamptz default current_timestamp,
  name text,
  is_default boolean default false,
  inherited_name text,
  user_id varchar(64)
);
alter table referral_codes
  add constraint fk_referral_codes_user_id foreign key (user_id) references webui_users (user_id) not valid;
create index idx_referral_codes_code on referral_codes (code);
create index idx_referral_codes_email on referral_codes (user_email);
create index idx_referral_codes_user_email on referral_codes (user_email);
create index idx_referral_codes_user_email_default on referral_codes (user_email, is_default) where is_default = true;
create index idx_referral_codes_user_id on referral_codes (user_id);

create table referrals (
  id serial primary key,
  referrer_email text,
  referred_email text,
  referral_code text not null,
  referred_at timestamptz default current_timestamp,
  referrer_id varchar(64),
  referred_id varchar(64),
  constraint fk_referrals_referral_code foreign key (referral_code) references referral_codes (code)
);
alter table referrals
  add constraint fk_referrals_referrer_id foreign key (referrer_id) references webui_users (user_id) not valid,
  add constraint fk_referrals_referred_id foreign key (referred_id) references webui_users (user_id) not valid;
create index idx_referrals_referrer on referrals (referrer_email);
create index idx_referrals_referred on referrals (referred_email);
create index idx_referrals_referrer_id on referrals (referrer_id);
create index idx_referrals_referred_id on referrals (referred_id);
create unique index idx_referrals_referred_id_unique on referrals (referred_id);

create table referral_bonuses (
  id serial primary key,
  credit_history_id integer not null references credit_history (id) on delete cascade,
  recipient_user_id varchar(64) not null,
  recipient_referral_code text not null,
  source_credit_history_id integer not null references credit_history (id) on delete cascade,
  source_user_id varchar(64) not null,
  source_referral_code text not null,
  level integer not null check (level in (1, 2, 3)),
  bonus_amount_fula numeric(30, 8) not null,
  source_amount_fula numeric(30, 8) not null,
  created_at timestamptz default now(),
  unique (source_credit_history_id, level)
);
create index idx_referral_bonuses_recipient_code on referral_bonuses (recipient_user_id, recipient_referral_code);
create index idx_referral_bonuses_source on referral_bonuses (source_user_id);
