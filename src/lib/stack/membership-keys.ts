import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { loadConfig } from "../config/load.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import type { Secret } from "../kernel/secret.ts";
import { checkRecord } from "../membership/record-checks.ts";
import { type SealedKey, sealedKeySchema } from "../membership/records.ts";
import { openSealed } from "../membership/sealed/sealed-box.ts";
import { findMember, type MembershipContext, requireBoxKey, withMembership } from "./membership-run.ts";

/** One epoch of a pool's secret, and to whom it was sealed. */
export interface EpochListing {
  readonly epoch: number;
  /** Names of the members that have it, in order. */
  readonly sealedTo: readonly string[];
}

/** The epochs of a pool's secret, newest first. @throws FulaError FULA_MEMBERSHIP_NOT_FOUND, and what `withMembership` throws */
export async function listEpochs(context: MembershipContext, pool: string): Promise<readonly EpochListing[]> {
  return await withMembership(context, async (store) => {
    const [members, keys] = await Promise.all([store.listMembers(pool), store.listSealedKeys(pool)]);
    const names = new Map(members.map(({ endpoint, name }) => [endpoint, name]));
    const epochs = Map.groupBy(keys, ({ epoch }) => epoch);
    return [...epochs]
      .toSorted(([left], [right]) => right - left)
      .map(([epoch, sealed]) => ({
        epoch,
        sealedTo: sealed.map(({ member }) => names.get(member) ?? member).toSorted(),
      }));
  });
}

/** Which sealed key is meant. */
export interface KeyChoice {
  readonly pool: string;
  /** An endpoint, or the name of a box; null for this box. */
  readonly member: string | null;
  /** Null for the newest that the member has. */
  readonly epoch: number | null;
}

/** A sealed key as it is stored. @throws FulaError FULA_MEMBERSHIP_NOT_FOUND, and what `withMembership` throws */
export async function showSealedKey(context: MembershipContext, choice: KeyChoice): Promise<SealedKey> {
  const { pool, member, epoch } = choice;
  return await withMembership(context, async (store, { paths }) => {
    const { endpoint } = member === null ? await requireBoxKey(paths) : await findMember(store, pool, member);
    return await store.getSealedKey(pool, endpoint, epoch ?? undefined);
  });
}

async function readSealedFile(path: string): Promise<SealedKey> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, "utf8"));
  } catch (cause) {
    throw new FulaError("FULA_USAGE", `Cannot read a sealed key from ${path}: ${messageOf(cause)}.`, {
      hint: "name a file with what fula-master membership key show <pool> --json prints.",
      cause,
    });
  }
  return checkRecord(sealedKeySchema, value, `The sealed key in ${path}`);
}

/** What `key open` is given. */
export interface OpenOptions extends Omit<KeyChoice, "member"> {
  /** A file that `key show --json` has written; null asks the control plane. */
  readonly sealedFile: string | null;
  /** A file of mode 0600 for the secret; null hands it to the caller. */
  readonly output: string | null;
}

/** What came of opening a sealed key. */
export interface OpenedKey {
  readonly pool: string;
  readonly epoch: number;
  readonly member: string;
  /** Where the secret was written to; null where the caller has it. */
  readonly file: string | null;
  /** Null where it is in the file. */
  readonly secret: Secret | null;
}

/**
 * Opens a sealed key with this box's key. One from a file is opened without the control plane.
 * @throws FulaError FULA_USAGE, FULA_SEALED_BOX, FULA_NOT_JOINED, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE, and as
 *   `showSealedKey`
 */
export async function openSealedKey(context: MembershipContext, options: OpenOptions): Promise<OpenedKey> {
  const { pool, epoch, sealedFile, output } = options;
  const { paths } = await loadConfig(context);
  const key = await requireBoxKey(paths);
  const record =
    sealedFile === null
      ? await showSealedKey(context, { pool, member: key.endpoint, epoch })
      : await readSealedFile(resolve(context.cwd, sealedFile));
  if (record.pool !== pool || (epoch !== null && record.epoch !== epoch)) {
    throw new FulaError("FULA_USAGE", `${sealedFile} has the key of epoch ${record.epoch} of pool ${record.pool}.`, {
      hint: `fula-master membership key open ${record.pool} --sealed-file ${sealedFile}`,
    });
  }
  const secret = await openSealed(key, record);
  const file = output === null ? null : resolve(context.cwd, output);
  if (file !== null) await writeFileAtomic(file, `${secret.reveal()}\n`, { mode: SECRET_FILE_MODE });
  return { pool, epoch: record.epoch, member: record.member, file, secret: file === null ? secret : null };
}
