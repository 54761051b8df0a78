import { FulaError } from "../kernel/errors.ts";
import { parseDurationMs } from "../kernel/units.ts";
import type { TokenSource } from "./token-source.ts";

/** The options of `join-as-storage-node`, as the command line gives them. */
export interface StorageOptions extends TokenSource {
  /** A file or an https URL with a signed peers document. */
  readonly peers?: string;
  /** `ed25519:…` of the master that must have signed token or document. */
  readonly peersKey?: string;
  readonly announce?: string;
  readonly nodeName?: string;
  readonly project?: string;
  /** Base URL of a master's API: clients may store blocks on this node then. */
  readonly storageApi?: string;
  readonly ingestPort?: string;
  /** `key=value`, each a setting of this run. */
  readonly set?: readonly string[];
  /** How long it is waited for the node to join and to replicate: a duration such as `3m`. */
  readonly wait: string;
  /** False with `--no-start`. */
  readonly start?: boolean;
  /** False with `--no-schedules`. */
  readonly schedules?: boolean;
  /** Root of the file system that schedules are installed into; tests hand in their own. Default `/`. */
  readonly scheduleRoot?: string;
  readonly skipPreflight?: readonly string[];
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** Where a storage node lives, where nothing else is said. */
export const STORAGE_BASE_DIR = "/opt/fula-storage";

const WAIT_MAX_MS = 3_600_000;

/** Milliseconds that `--wait` gives. @throws FulaError FULA_USAGE */
export function parseWait(text: string): number {
  const ms = text === "0s" ? 0 : parseDurationMs(text);
  if (ms !== null && ms <= WAIT_MAX_MS) return ms;
  throw new FulaError("FULA_USAGE", `--wait ${JSON.stringify(text)} is not a time of at most an hour.`, {
    hint: "--wait 3m",
  });
}
