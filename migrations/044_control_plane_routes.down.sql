alter table federation_nodes
  drop constraint federation_nodes_route_form,
  drop column control_plane_route;
