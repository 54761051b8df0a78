-- Wallets that are linked stay so; who was just asked to sign asks for a new text.

drop table wallet_challenges;
