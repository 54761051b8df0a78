-- Where servers of the control plane on other masters reach a master's own, as host:port: each master writes it down once its
-- server is one of them, so that any two masters find one another without the third. Null: it has none that others reach.
alter table federation_nodes
  add column control_plane_route text,
  add constraint federation_nodes_route_form
    check (control_plane_route ~ '^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}$');
