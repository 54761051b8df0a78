drop table join_tokens;
drop table federation_nodes;
