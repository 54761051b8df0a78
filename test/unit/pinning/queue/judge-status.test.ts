import { expect, test } from "vitest";
import { EVERY_PEER, makePin, type PeerPinStatus } from "../../../../src/lib/cluster/pins.ts";
import { judgeStatus } from "../../../../src/lib/pinning/queue/judge-status.ts";
import { rawCid } from "../../../support/pins.ts";

const CID = rawCid("one").toString();
const twoToThree = { replication_factor_min: 2, replication_factor_max: 3 };

test.each<{
  readonly factors: typeof twoToThree;
  readonly statuses: readonly PeerPinStatus[];
  readonly held: number;
  readonly needed: number;
  readonly hasFailed: boolean;
  readonly why: string;
}>([
  {
    factors: twoToThree,
    statuses: ["pinned", "pinned", "pinning"],
    held: 2,
    needed: 2,
    hasFailed: false,
    why: "two are enough, a third may come",
  },
  { factors: twoToThree, statuses: ["pinned", "pin_queued"], held: 1, needed: 2, hasFailed: false, why: "one is not" },
  { factors: twoToThree, statuses: ["pinned", "pin_error"], held: 1, needed: 2, hasFailed: true, why: "one gave up" },
  {
    factors: twoToThree,
    statuses: ["pinned", "cluster_error", "remote"],
    held: 1,
    needed: 2,
    hasFailed: false,
    why: "a peer that cannot be asked is no verdict",
  },
  {
    factors: EVERY_PEER,
    statuses: ["pinned", "pinned", "pinning"],
    held: 2,
    needed: 3,
    hasFailed: false,
    why: "every peer that there is",
  },
  {
    factors: EVERY_PEER,
    statuses: [],
    held: 0,
    needed: 1,
    hasFailed: false,
    why: "nobody has it where nobody says so",
  },
  {
    factors: { replication_factor_min: 0, replication_factor_max: 0 },
    statuses: ["unpinned"],
    held: 0,
    needed: 1,
    hasFailed: false,
    why: "one at the least",
  },
  {
    factors: EVERY_PEER,
    statuses: ["unexpectedly_unpinned"],
    held: 0,
    needed: 1,
    hasFailed: true,
    why: "blocks are missing",
  },
])("$statuses of $factors: $why", ({ factors, statuses, held, needed, hasFailed }) => {
  const peers = statuses.map((status, index) => ({ peer: `p-${index}`, status, error: "" }));
  const pin = makePin(CID, "2026-11-20T03:00:00Z", factors);
  expect(judgeStatus(pin, { cid: CID, name: "", peers })).toEqual({ held, needed, hasFailed, error: "" });
});
