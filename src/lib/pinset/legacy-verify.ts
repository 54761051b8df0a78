import { createReadStream } from "node:fs";
import { isFulaError, systemErrorCode } from "../kernel/errors.ts";
import { verifyEd25519Stream } from "./ed25519-stream.ts";
import type { SnapshotFiles } from "./format.ts";
import { type KeyId, rawKeyOf, type TrustedKey } from "./keys.ts";
import { readLegacyPins } from "./legacy.ts";
import { readSmall, type SnapshotProblem } from "./manifest-check.ts";
import type { Findings } from "./verify.ts";

const SIGNATURE_BYTES = 64;

/** What an old-format file is checked with. */
export interface LegacyDeps {
  readonly trustedKeys: readonly TrustedKey[];
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number | null) => void) | undefined;
}

/**
 * Checks a snapshot of the existing fleet: a raw signature over the very bytes of the file, by a key that this box was
 * told to trust, and every entry a pin. More is not in it.
 */
export async function verifyLegacy(files: SnapshotFiles, deps: LegacyDeps): Promise<Findings> {
  const file = files.manifest;
  const { signedBy, problems } = await findSigner(files, deps);
  const remarks = [
    "It has the old format: cluster, time, sequence and number of pins are not signed, so an older file under this name cannot be told from it.",
  ];
  const findings = { files, file, format: "legacy", manifest: null, signedBy, remarks } as const;
  if (signedBy === null) return { ...findings, pinCount: null, problems };
  let pinCount = 0;
  try {
    for await (const _ of readLegacyPins(file, deps.signal)) {
      pinCount += 1;
      if (pinCount % 4_096 === 0) deps.onProgress?.(pinCount, null);
    }
  } catch (error) {
    if (!isFulaError(error)) throw error;
    return { ...findings, pinCount, problems: [{ code: "FULA_SNAPSHOT_RECORD", message: error.message }] };
  }
  if (pinCount > 0) return { ...findings, pinCount, problems };
  const message = "It holds no pin at all, which is what the old tool signed when its source had failed.";
  return { ...findings, pinCount, problems: [{ code: "FULA_SNAPSHOT_COUNT", message }] };
}

interface Signer {
  readonly signedBy: KeyId | null;
  readonly problems: readonly SnapshotProblem[];
}

function none(code: SnapshotProblem["code"], message: string, hint?: string): Signer {
  return { signedBy: null, problems: [hint === undefined ? { code, message } : { code, message, hint }] };
}

async function findSigner(files: SnapshotFiles, { trustedKeys, signal }: LegacyDeps): Promise<Signer> {
  const signature = await readSmall(files.signature, SIGNATURE_BYTES);
  if (signature === null) return none("FULA_SNAPSHOT_INCOMPLETE", `The signature ${files.signature} is missing.`);
  if (signature === "too long" || signature.length !== SIGNATURE_BYTES) {
    return none("FULA_SNAPSHOT_SIGNATURE", `${files.signature} is not a signature of ${SIGNATURE_BYTES} bytes.`);
  }
  try {
    for (const { keyId } of trustedKeys) {
      const raw = rawKeyOf(keyId);
      if (raw === null) continue;
      const message = createReadStream(files.manifest, {
        highWaterMark: 256 * 1024,
        ...(signal === undefined ? {} : { signal }),
      });
      if (await verifyEd25519Stream(raw, message, signature)) return { signedBy: keyId, problems: [] };
    }
  } catch (error) {
    signal?.throwIfAborted();
    const errno = systemErrorCode(error);
    if (errno === undefined) throw error;
    return none("FULA_SNAPSHOT_INCOMPLETE", `Cannot read ${files.manifest}: ${errno}.`);
  }
  return none(
    "FULA_SNAPSHOT_SIGNATURE",
    `${files.signature} does not match the file under any of the ${trustedKeys.length} keys that this box trusts.`,
    "if another box of the old fleet made it, trust its key first: fula-master key trust <its snapshot-ed25519.pub.pem>",
  );
}
