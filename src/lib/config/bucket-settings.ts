import { bytes, duration, flag, integer, oneOfNumbers } from "./setting.ts";

/** Buckets: how their roots move, and what is kept of roots that were. */
export const BUCKETS_SETTINGS = {
  cas: flag({
    description:
      "Roots of buckets move by compare-and-swap in the ledger, so that any number of masters may save. Off only where a single one does: it saves whatever another one saved meanwhile away.",
    default: true,
    env: [{ name: "FULA_BUCKET_ROOT_CAS", rule: "exactly-true" }],
  }),
  casAttempts: integer(
    { description: "How often a save is tried that lost the race for the root of its bucket.", default: 5 },
    1,
    100,
  ),
  casExhausted: oneOfNumbers(
    {
      description:
        "What a client is told when all of them lost: 412 PreconditionFailed, which clients of the existing fleet try again, or 503 SlowDown, which all others do.",
      default: 412,
    },
    [412, 503] as const,
  ),
  compactAfter: integer(
    {
      description: "Changes that a bucket's log holds at most before they are worked into its search tree.",
      default: 96,
    },
    8,
    1_000,
  ),
  graceTime: duration(
    {
      description: "For so long, contents and blocks that lost their reference are kept: somebody may still read them.",
      default: "1h",
    },
    "5m",
  ),
  collectEvery: duration(
    { description: "Pause between two looks for contents and blocks that can go.", default: "10m" },
    "1s",
  ),
  historyAge: duration(
    {
      description: "For so long the ledger keeps every root that a bucket had; at least as long as the grace time.",
      default: "7d",
    },
    "1m",
  ),
  readTimeout: duration(
    {
      description: "A read waits so long for the ledger, then goes on from the last root that is known, marked stale.",
      default: "2s",
    },
    "50ms",
  ),
  staleReads: duration({
    description: "For so long, while the ledger does not answer, reads go on from the last root that is known.",
    default: "1h",
  }),
  nodeCacheBytes: bytes(
    {
      description: "Memory for blocks of indexes that were read.",
      default: { resolve: () => 64 * 1024 ** 2, text: "64MiB", example: "64MiB" },
    },
    1_024 ** 2,
  ),
} as const;
