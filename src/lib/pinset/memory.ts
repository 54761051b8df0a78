import { join } from "node:path";
import { z } from "zod";
import { readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { canonicalJson } from "./canonical.ts";
import { rawKeyOf, type TrustedKey, verifyEd25519 } from "./keys.ts";
import type { SigningKey } from "./signing.ts";

/**
 * What this box remembers of its last snapshot, apart from the snapshots themselves and signed like them: who deletes
 * or damages the newest snapshot must not thereby make an emptied pinset look well, nor get a sequence number again.
 */
export interface SnapshotMemory {
  readonly clusterId: string;
  /** Of the last snapshot that was finished; 0 where there is none yet. */
  readonly sequence: number;
  /** The highest number ever begun; a crash may have used it. */
  readonly reservedSequence: number;
  readonly pinCount: number;
  /** The most pins that any snapshot had. */
  readonly pinCountMax: number;
  /** RFC 3339 UTC; null where there is none yet. */
  readonly time: string | null;
  readonly manifestSha256: string | null;
}

/** What `readMemory` found. `damaged`: a file is there, but it is not one that a trusted key signed. */
export type MemoryState =
  | { readonly kind: "none" }
  | { readonly kind: "damaged"; readonly why: string }
  | { readonly kind: "good"; readonly memory: SnapshotMemory };

const fileSchema = z.strictObject({
  memory: z.strictObject({
    clusterId: z.string(),
    sequence: z.int().nonnegative(),
    reservedSequence: z.int().nonnegative(),
    pinCount: z.int().nonnegative(),
    pinCountMax: z.int().nonnegative(),
    time: z.string().nullable(),
    manifestSha256: z.string().nullable(),
  }),
  keyId: z.string(),
  signature: z.string(),
});

/** Signed together with the content, so that no other thing that the key signs can be put in its place. */
const CONTEXT = "fula-master snapshot memory 1\n";

/** Where it lies. */
export function memoryFile(stateDir: string): string {
  return join(stateDir, "snapshot-last.json");
}

/** Reads what this box remembers about snapshots of a cluster. */
export async function readMemory(
  stateDir: string,
  clusterId: string,
  trustedKeys: readonly TrustedKey[],
): Promise<MemoryState> {
  const text = await readTextIfExists(memoryFile(stateDir));
  if (text === null) return { kind: "none" };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: "damaged", why: "it is not JSON" };
  }
  const parsed = fileSchema.safeParse(value);
  if (!parsed.success) return { kind: "damaged", why: "it does not have the fields that it should have" };
  const { memory, keyId, signature } = parsed.data;
  if (!trustedKeys.some((key) => key.keyId === keyId))
    return { kind: "damaged", why: `it is signed by ${keyId}, which is not trusted` };
  const raw = rawKeyOf(keyId);
  if (raw === null || !verifyEd25519(raw, signedBytes(memory), Buffer.from(signature, "base64"))) {
    return { kind: "damaged", why: "its signature does not match" };
  }
  // A box that was joined to another cluster begins anew there.
  return memory.clusterId === clusterId ? { kind: "good", memory } : { kind: "none" };
}

/** Writes it. @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE */
export async function writeMemory(stateDir: string, memory: SnapshotMemory, key: SigningKey): Promise<void> {
  const signature = Buffer.from(key.sign(signedBytes(memory))).toString("base64");
  const text = JSON.stringify({ memory, keyId: key.keyId, signature }, null, 2);
  await writeFileAtomic(memoryFile(stateDir), `${text}\n`, { mode: SECRET_FILE_MODE });
}

function signedBytes(memory: SnapshotMemory): Uint8Array {
  return Buffer.from(`${CONTEXT}${canonicalJson(memory)}`);
}
