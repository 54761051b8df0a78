-- Boxes write themselves down again when they join again; tokens that were given out and not used are lost.

lock table federation_nodes, join_tokens in share row exclusive mode;

select 'federation_nodes: boxes of the federation' as what, count(*) as rows from federation_nodes
union all
select 'join_tokens: tokens that are still good', count(*) from join_tokens
 where revoked_at is null and redeemed_at is null and expires_at > now();
