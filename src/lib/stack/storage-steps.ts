import { mergeEnvFile } from "../config/env-file.ts";
import { FulaError } from "../kernel/errors.ts";
import { SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { formatCount } from "../kernel/units.ts";
import { readInstallation, writeInstallation } from "./installation.ts";
import type { ContainerRun, JoinStep, Report } from "./join-step.ts";
import { type FileRun, noteOurs } from "./join-steps-files.ts";
import { renderSignedPeers } from "./peers-run.ts";
import { already, type Assessment, todo } from "./plan.ts";
import { broughtSecrets, type StorageBox } from "./storage-box.ts";
import { peersFile } from "./storage-entry.ts";
import { storageCheck } from "./storage-look.ts";
import { parseWait } from "./storage-options.ts";
import { awaitStorage, isWell, lookAtStorage, type StorageClaim, type StorageLook } from "./storage-verify.ts";

/** What the steps of one run share. */
export interface StorageRun extends ContainerRun, FileRun {
  readonly box: StorageBox;
  /** What was seen last of the node; null before it was looked at. */
  look: StorageLook | null;
}

/** Step: who the masters are, and the secret of their cluster. */
export function mastersStep({ box }: StorageRun): JoinStep {
  const { entry, document, paths, context } = box;
  const names = document.masters.map(({ name }) => name).join(", ");
  return {
    id: "token",
    title: "Masters",
    assess: async () => {
      if (entry === null) return already(`${names}, as ${document.issuer} signed it at ${document.issuedAt}`);
      return todo(
        `this node takes changes of the pinset from ${formatCount(document.masters.length, "master")} alone`,
        [
          `accept ${entry.source}, signed by ${entry.signed.key}`,
          `cluster ${document.clusterId}; masters: ${names}`,
          ...Object.keys(broughtSecrets(entry)).map((name) => `save ${name} in ${paths.envFile} (0600)`),
        ],
      );
    },
    apply: async () => {
      if (entry === null) return "not needed";
      const { clock, signal } = context;
      // Before anything else is in it: what lies in a directory of nobody is not built upon.
      await noteOurs(box);
      // The secrets before the list: what is accepted is not asked for again.
      const brought = broughtSecrets(entry);
      if (Object.keys(brought).length > 0) await mergeEnvFile(paths.envFile, brought, { clock, signal });
      await writeFileAtomic(peersFile(paths.stateDir), renderSignedPeers(entry.signed), { mode: SECRET_FILE_MODE });
      return names;
    },
  };
}

/** What was verified: another peer, or other masters, have not been. */
function markOf({ box }: StorageRun, { clusterPeerId }: StorageLook): string {
  return `${clusterPeerId} ${box.document.masters.map((master) => master.clusterPeerId).join(" ")}`;
}

function unverified(claims: readonly StorageClaim[], waited: string): FulaError {
  const failed = claims.filter((claim) => !claim.holds);
  const lines = failed.map(({ name, message, remedy }) => `  ${name}: ${message}\n    Try: ${remedy}`);
  return new FulaError(
    "FULA_STORAGE_UNVERIFIED",
    `The containers run, but after ${waited} this is not yet a working storage node:\n${lines.join("\n")}`,
    { hint: "mend these, then run the same command again.", details: { claims } },
  );
}

async function assessVerified(run: StorageRun): Promise<Assessment> {
  const { box } = run;
  const changes = [
    "wait until a master and this node see one another",
    "look that it trusts the masters alone",
    "try to pin something on it: it must refuse",
    `wait until it holds the probe ${box.document.probe}`,
  ];
  const why = "a daemon that runs is not yet a node that replicates";
  const verified = (await readInstallation(box.paths.stateDir))?.verified;
  if (verified === undefined || box.docker.absent !== undefined) return todo(why, changes);
  const look = await lookAtStorage(storageCheck(box.wanted, box.document, box.context, false));
  run.look = look;
  const failed = look.claims.filter((claim) => !claim.holds);
  if (failed.length > 0) return todo(`not so: ${failed.map(({ name }) => name).join(", ")}`, changes);
  if (verified !== markOf(run, look)) return todo(why, changes);
  return already("it has joined, follows the masters alone, and replicates");
}

async function verify(run: StorageRun, report: Report): Promise<string> {
  const { box } = run;
  const loaded = await box.reload();
  const check = storageCheck(loaded, box.document, box.context, true);
  const look = await awaitStorage(check, parseWait(box.options.wait), report);
  run.look = look;
  if (!isWell(look)) throw unverified(look.claims, box.options.wait);
  const current = await readInstallation(box.paths.stateDir);
  if (current !== null) await writeInstallation(box.paths.stateDir, { ...current, verified: markOf(run, look) });
  return `all ${look.claims.length} claims hold`;
}

/** Step: what was set up is a storage node: it has joined, may write nothing, and replicates. */
export function verifyStorageStep(run: StorageRun): JoinStep {
  return {
    id: "verify",
    title: "Verification",
    assess: async () => await assessVerified(run),
    apply: async (report) => await verify(run, report),
  };
}
