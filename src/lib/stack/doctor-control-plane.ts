import type { PathsContext } from "../config/paths.ts";
import { FulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import { formatCount } from "../kernel/units.ts";
import type { ControlPlaneFileLook } from "../membership/sqlite/look.ts";
import { hostFacts } from "../runtime/host.ts";
import { lookAtRecords } from "./control-plane-look.ts";
import { judgeAuthorization, judgePools, type RecordsView, stampText } from "./control-plane-records.ts";
import { controlPlaneAddress, isControlPlaneMade, withControlPlane } from "./control-plane.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { natsChecks } from "./doctor-nats.ts";
import { type DoctorCheck, findingsOf } from "./doctor.ts";
import type { Finding } from "./preflight.ts";
import type { PartProblem } from "./status-part.ts";

/** @throws FulaError FULA_NOT_JOINED where there is no control plane yet: looking at it must make none */
async function assertMade({ loaded }: DoctorBox): Promise<void> {
  if (await isControlPlaneMade(loaded)) return;
  throw new FulaError("FULA_NOT_JOINED", "This master has no control plane yet.", {
    hint: "fula-master join makes it.",
  });
}

async function readOwnRecords({ loaded, clock, random }: DoctorBox, signal: AbortSignal): Promise<RecordsView> {
  const deps = { clock, random, signal, patience: "doctor" } as const;
  return await withControlPlane(loaded, deps, async (store) => await lookAtRecords(store, loaded));
}

const OWNER_ALONE = 0o600;

/** Checks how the file of a control plane lies on this box. */
export function judgeFile(path: string, look: ControlPlaneFileLook, uid: number): readonly PartProblem[] {
  const { damage, journalMode, mode, network } = look;
  const problems: PartProblem[] = [];
  const bad = (message: string, remedy: string): void => {
    problems.push({ severity: "bad", message, remedy });
  };
  if (damage.length > 0) {
    const remedy = "fula-master membership export saves what can be read; then put your newest backup in its place.";
    bad(`${path} is damaged: ${damage.join("; ")}.`, remedy);
  }
  if (journalMode !== "wal") {
    bad(
      `${path} is kept with the journal "${journalMode}", not with wal.`,
      `sqlite3 ${path} 'pragma journal_mode = wal'`,
    );
  }
  if (mode !== OWNER_ALONE) {
    const octal = mode.toString(8).padStart(4, "0");
    bad(`${path} has the permissions ${octal}: others may read who belongs.`, `chmod 600 ${path}`);
  }
  if (look.uid !== uid) {
    bad(
      `${path} belongs to user ${look.uid}, and this run is user ${uid}.`,
      `chown it, or run as the user who joined.`,
    );
  }
  if (network !== null) {
    bad(
      `${path} lies on ${network}: locks of SQLite do not hold there, and a second machine can damage it.`,
      "move the base directory to a disk of this machine, or the control plane to NATS: fula-master membership migrate-to-kv",
    );
  }
  return problems;
}

async function checkFile({ loaded }: DoctorBox): Promise<readonly PartProblem[]> {
  const { lookAtControlPlaneFile } = await import("../membership/sqlite/look.ts");
  const path = loaded.paths.controlPlaneFile;
  // One that is gone is told by who opens it.
  if (!(await exists(path))) return [];
  return judgeFile(path, await lookAtControlPlaneFile(path), hostFacts().uid);
}

async function checkControlPlane(box: DoctorBox, signal: AbortSignal): Promise<readonly Finding[]> {
  const { loaded } = box;
  const isFile = loaded.config.controlPlane.mode === "sqlite";
  await assertMade(box);
  // The file first: who opens it closes it to others.
  const ofFile = isFile ? await checkFile(box) : [];
  const records = await readOwnRecords(box, signal);
  const problems = [...ofFile, ...judgeAuthorization(records)];
  const who = `this box is an admin, of ${formatCount(records.operators.length, "operator")}`;
  const how = isFile ? "whole, in WAL, this user's alone" : `answers with a quorum, ${stampText(records)}`;
  return findingsOf(problems, `${controlPlaneAddress(loaded)}: ${how}; ${who}`);
}

/** Checks the pools, and that what this box works with is what they hold. */
async function checkMembership(
  box: DoctorBox,
  context: PathsContext,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  await assertMade(box);
  const records = await readOwnRecords(box, signal);
  const problems = [...judgePools(records)];
  const isMember = records.pools.some(
    ({ pool, members }) => pool.id === "masters" && members.some(({ endpoint }) => endpoint === records.ownEndpoint),
  );
  if (isMember) problems.push(...(await differsFromPools(box, context, signal)));
  const names = records.pools.map(({ pool }) => `${pool.id} (epoch ${pool.epoch})`).join(", ");
  return findingsOf(problems, `this box belongs to ${names}, and works with their newest secrets`);
}

async function differsFromPools(
  { clock, random }: DoctorBox,
  { globals, env, cwd, user }: PathsContext,
  signal: AbortSignal,
): Promise<readonly PartProblem[]> {
  const { syncMembership } = await import("./membership-sync.ts");
  const context = { globals, env, cwd, clock, random, signal, ...(user && { user }) };
  const { changed } = await syncMembership(context, { dryRun: true, forgetOld: false, report: () => {} });
  if (changed.length === 0) return [];
  return [
    {
      severity: "bad",
      message: `This box works with other secrets than the control plane has: ${changed.join(", ")}.`,
      remedy: "fula-master membership sync; with --dry-run it tells what it would change.",
    },
  ];
}

/** Checks of the control plane, which a master has. */
export function controlPlaneChecks(box: DoctorBox, context: PathsContext): readonly DoctorCheck[] {
  return [
    { name: "control-plane", run: async (signal) => await checkControlPlane(box, signal) },
    { name: "membership", run: async (signal) => await checkMembership(box, context, signal) },
    ...natsChecks(box),
  ];
}
