-- What gateways that share buckets, and perhaps a Kubo node, must know of one another: what that node holds, and whose turn
-- it is to move a root that several fight for. Neither decides who wins: roots move by compare-and-swap alone.

-- What a Kubo node holds beside the pins of the cluster: blocks that its gateway took in and that the cluster's peers do
-- not have yet. Whoever holds writes it down first; a task lets go of what enough peers report as pinned.
create table bucket_holds (
  -- Peer id of the Kubo node: masters may share one.
  node text not null,
  cid text collate "C" not null,
  -- Changes with every new hold: whoever lets go compares it, so that it never ends a hold that came later.
  since timestamptz not null default clock_timestamp(),
  -- When to look next whether it can go, and how long to wait after that look; doubled each time.
  look_at timestamptz not null default clock_timestamp() + interval '1 minute',
  pause interval not null default interval '1 minute',
  primary key (node, cid)
);
create index bucket_holds_look_at on bucket_holds (node, look_at);

-- A gateway that lost a race for a root asks the others to let it go first. A turn ends by itself; one that a crash of the
-- database forgets costs nothing but fairness.
create unlogged table bucket_turns (
  owner_id text not null,
  bucket text not null,
  -- Names the flush that has it.
  holder text not null,
  until timestamptz not null,
  primary key (owner_id, bucket)
);
