import canonical from "canonicalize";
import { z } from "zod";
import { FulaError } from "../../kernel/errors.ts";
import { Secret } from "../../kernel/secret.ts";
import { checkRecord } from "../record-checks.ts";
import { endpointSchema, type SealedKey } from "../records.ts";
import { membershipInvalid } from "../refusals.ts";
import type { BoxKey } from "./box-key.ts";

/** What a sealed secret is bound to. */
export type SealedFor = Omit<SealedKey, "sealed">;

// Who can write the store could else show a box an old epoch's secret, or another pool's, as the newest of this one.
const plaintextSchema = z.strictObject({
  pool: z.string(),
  epoch: z.int(),
  member: z.string(),
  secret: z.string(),
});

function rawKey(endpoint: string): Uint8Array {
  return new Uint8Array(
    Buffer.from(checkRecord(endpointSchema, endpoint, "The endpoint").slice("x25519:".length), "hex"),
  );
}

/** libsodium is half a megabyte of WebAssembly: only who seals or opens loads it. */
async function loadSodium(): Promise<typeof import("libsodium-wrappers").default> {
  const { default: sodium } = await import("libsodium-wrappers");
  await sodium.ready;
  return sodium;
}

/**
 * Seals a pool's secret of one epoch to one member, as libsodium's `crypto_box_seal` does (X25519, XSalsa20-Poly1305,
 * a fresh key pair each time). Its length shows that of the secret.
 * @throws FulaError FULA_MEMBERSHIP_INVALID for an endpoint that is no public key
 */
export async function sealSecret(to: SealedFor, secret: Secret): Promise<SealedKey> {
  const { pool, epoch, member } = to;
  const publicKey = rawKey(member);
  const sodium = await loadSodium();
  const plaintext = canonical({ pool, epoch, member, secret: secret.reveal() }) ?? "";
  let sealed: Uint8Array;
  try {
    sealed = sodium.crypto_box_seal(plaintext, publicKey);
  } catch {
    throw membershipInvalid(`Nothing can be sealed to ${member}: it is no public key that has a private half`);
  }
  return { pool, epoch, member, sealed: Buffer.from(sealed).toString("base64") };
}

/**
 * Opens a sealed secret with this box's key.
 * @throws FulaError FULA_SEALED_BOX where it was sealed to another key, changed, or is of another pool, epoch or member
 *   than the record says
 */
export async function openSealed(key: BoxKey, record: SealedKey): Promise<Secret> {
  const { pool, epoch, member, sealed } = record;
  if (member !== key.endpoint) throw doesNotOpen(record, `it is ${member}'s, and this box is ${key.endpoint}`);
  const sodium = await loadSodium();
  let text: string;
  try {
    const privateKey = new Uint8Array(Buffer.from(key.privateKey.reveal(), "hex"));
    const opened = sodium.crypto_box_seal_open(Buffer.from(sealed, "base64"), rawKey(key.endpoint), privateKey);
    text = new TextDecoder("utf-8", { fatal: true }).decode(opened);
  } catch {
    throw doesNotOpen(record, "it was sealed to another key, or changed since");
  }
  const content = parsePlaintext(text);
  if (content === null) throw doesNotOpen(record, "what is in it is no secret of a pool");
  if (content.pool !== pool || content.epoch !== epoch || content.member !== member) {
    throw doesNotOpen(record, `it was sealed as epoch ${content.epoch} of pool ${content.pool} for ${content.member}`);
  }
  return new Secret(content.secret);
}

function parsePlaintext(text: string): z.infer<typeof plaintextSchema> | null {
  try {
    return plaintextSchema.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

function doesNotOpen({ pool, epoch, member }: SealedKey, why: string): FulaError {
  return new FulaError("FULA_SEALED_BOX", `The secret of epoch ${epoch} of pool ${pool} does not open: ${why}.`, {
    hint:
      "if this box's key was lost or replaced, put it back from your backup, or have another member admit the box anew: " +
      "fula-master membership member add",
    details: { pool, epoch, member },
  });
}
