import { PostgresRoots } from "../buckets/roots/postgres-roots.ts";
import type { BucketName, Expected, Move } from "../buckets/roots/root-pointer.ts";
import { EMPTY_TREE } from "../buckets/tree/build-tree.ts";
import { formatCount } from "../kernel/units.ts";
import type { Pool } from "../postgres/pool.ts";
import { readBucketReport } from "./bucket-report.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { doubtful, failed, fine } from "./doctor.ts";
import type { Finding } from "./preflight.ts";

/** Checks that this master saves as the others do, that nothing waits for its import, and that the collector gets on. */
export async function checkBuckets({ loaded, clock }: DoctorBox, pool: Pool): Promise<readonly Finding[]> {
  const { problems, mode, buckets, arbiterMs, garbage } = await readBucketReport(pool, loaded, clock);
  if (problems.length > 0) {
    return problems.map(({ severity, message, remedy }) => (severity === "bad" ? failed : doubtful)(message, remedy));
  }
  const how = mode === null ? "nobody has served yet" : `saved by ${mode}`;
  return [
    fine(
      `${formatCount(buckets, "bucket")}, ${how}; the ledger answers in ${arbiterMs} ms; ${garbage} to be looked at by the collector`,
    ),
  ];
}

/** No user has this owner id: it is no hash that anybody has found something for. */
const SCRATCH_OWNER = "0".repeat(32);
const WRITERS = 2;

function scratchMove({ random }: DoctorBox, expected: Expected, next: Move["next"] | null): Move {
  const content = { root: EMPTY_TREE.cid, objectCount: 0n, totalBytes: 0n, metadata: { tags: {} } };
  return {
    expected,
    next: next ?? { kind: "content", content, userId: null },
    commitId: random.uuid(),
    claims: [],
    garbage: [],
    deadlineMs: null,
  };
}

/** How many of two writers that know the same win, when both try at once. */
async function race(box: DoctorBox, roots: PostgresRoots, name: BucketName, expected: Expected): Promise<number> {
  const tries = Array.from({ length: WRITERS }, async () => await roots.cas(name, scratchMove(box, expected, null)));
  const outcomes = await Promise.all(tries);
  return outcomes.filter(({ kind }) => kind === "won").length;
}

/**
 * Lets two writers race for the root of a scratch bucket, which is made and deleted again; its row stays as a tombstone,
 * like that of any bucket.
 */
export async function checkBucketRace(box: DoctorBox, pool: Pool): Promise<Finding> {
  const { loaded, clock, random } = box;
  const { mode } = await readBucketReport(pool, loaded, clock);
  if (mode !== "cas")
    return { state: "skipped", message: `buckets are not saved by compare-and-swap (${mode ?? "not yet"})` };
  const name = { ownerId: SCRATCH_OWNER, bucket: `doctor-${loaded.config.node.name}` };
  const roots = new PostgresRoots({ pool, node: loaded.config.node.name, clock, random });
  const made = await race(box, roots, name, { kind: "absent" });
  const state = await roots.get(name);
  if (state === null)
    return doubtful("The scratch bucket has gone while it was raced for.", "run doctor again, alone.");
  const moved = await race(box, roots, name, { kind: "at", version: state.version, root: state.root });
  const end = await roots.get(name);
  if (end !== null) {
    const expected: Expected = { kind: "at", version: end.version, root: end.root };
    await roots.cas(name, scratchMove(box, expected, { kind: "deleted" }));
  }
  if (made > 1 || moved > 1) {
    return failed(
      `Both of two writers won the race for one root (made ${made}, moved ${moved}): saves can be lost.`,
      "stop every master but one, and look what lies between them and the ledger: it must be one PostgreSQL server.",
    );
  }
  if (made !== 1 || moved !== 1) {
    return doubtful(`Of two writers ${made} made and ${moved} moved a scratch bucket.`, "run doctor again, alone.");
  }
  return fine("of two writers that know the same, one wins");
}
