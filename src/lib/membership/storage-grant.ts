import canonical from "canonicalize";
import { z } from "zod";
import { FulaError } from "../kernel/errors.ts";
import { Secret } from "../kernel/secret.ts";
import type { CheckSignature, DocumentSigner } from "./federation.ts";
import type { JoinToken } from "./join-token.ts";
import { type PeersDocument, type SignedPeers, signedPeersSchema, verifyPeers } from "./peers-document.ts";

/**
 * What the token of a storage node carries. Such a node has no way to the ledger, so nothing can count how often the
 * token is used: whoever has it can replicate and read the pinset, until the cluster secret is changed. It gives no
 * authority to change the pinset: only the masters' peers have that.
 */
export interface StorageGrant {
  /** Key of the cluster's private network: 64 hex digits. */
  readonly clusterSecret: Secret;
  /** Key of the Kubo nodes' private network, 64 hex digits; null where they are in the public one. */
  readonly swarmKey: Secret | null;
  readonly peers: SignedPeers;
}

const DOMAIN = "fula-master storage grant v1\n";

const bodySchema = z.strictObject({
  clusterSecret: z.string().regex(/^[0-9a-f]{64}$/),
  swarmKey: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
  peers: signedPeersSchema,
  signature: z.base64().max(88),
});

/** What the token carries, as it is signed; there is no swarm key in that of a federation in the public network. */
interface GrantText {
  readonly clusterSecret: string;
  readonly swarmKey?: string | undefined;
  readonly peers: SignedPeers;
}

function signedBytes({ id, expiresAtMs }: Pick<JoinToken, "id" | "expiresAtMs">, grant: GrantText): Uint8Array {
  const { clusterSecret, swarmKey, peers } = grant;
  const text = { id, expiresAtMs, clusterSecret, peers, ...(swarmKey === undefined ? {} : { swarmKey }) };
  return Buffer.from(`${DOMAIN}${canonical(text) ?? ""}`, "utf8");
}

/** Makes the token of a storage node, signed by the master. */
export function makeStorageToken(
  head: Pick<JoinToken, "id" | "expiresAtMs">,
  { clusterSecret, swarmKey, peers }: StorageGrant,
  signer: DocumentSigner,
): JoinToken {
  const grant = {
    clusterSecret: clusterSecret.reveal(),
    ...(swarmKey === null ? {} : { swarmKey: swarmKey.reveal() }),
    peers,
  };
  const signature = Buffer.from(signer.sign(signedBytes(head, grant))).toString("base64");
  return { role: "storage", ...head, body: new Secret(JSON.stringify({ ...grant, signature })) };
}

/**
 * The peers document of a storage node's token, before anything of it was checked: to see whether it was accepted already.
 * @throws FulaError FULA_TOKEN_INVALID
 */
export function peersInToken(token: JoinToken): SignedPeers {
  return bodyOf(token).peers;
}

/** What decides whether a storage node's token counts. */
export interface GrantTrust {
  /** The key that must have signed it; null takes the key that it names, as good as the way on which the token came. */
  readonly key: string | null;
  readonly check: CheckSignature;
  /** The joiner's clock: there is no other to ask. */
  readonly nowMs: number;
}

/** A grant that was checked. */
export interface OpenedGrant extends StorageGrant {
  readonly document: PeersDocument;
}

function invalid(why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_TOKEN_INVALID", `This is no usable join token: ${why}.`, {
    cause,
    hint: "make a new one on a master that runs the same version: fula-master token create --role storage",
  });
}

function bodyOf(token: JoinToken): z.infer<typeof bodySchema> {
  let value: unknown;
  try {
    value = JSON.parse(token.body.reveal());
  } catch {
    throw invalid("what it carries is damaged");
  }
  const parsed = bodySchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw invalid("what it carries has a form that this version does not know", parsed.error);
}

/**
 * Checks a storage node's token and gives what it carries.
 * @throws FulaError FULA_TOKEN_INVALID, FULA_TOKEN_EXPIRED, FULA_PEERS_SIGNATURE, FULA_PEERS_EXPIRED
 */
export function openStorageToken(token: JoinToken, { key, check, nowMs }: GrantTrust): OpenedGrant {
  const { signature, ...grant } = bodyOf(token);
  const { clusterSecret, swarmKey, peers } = grant;
  const trusted = key ?? peers.key;
  const where = "The peers document in the join token";
  if (trusted === peers.key && !check(trusted, signedBytes(token, grant), Buffer.from(signature, "base64"))) {
    throw new FulaError(
      "FULA_PEERS_SIGNATURE",
      `The join token's signature does not match: it was changed after ${trusted} signed it.`,
      {
        hint: "get a new one from the master by a way that nobody else can write to.",
        details: { key: trusted },
      },
    );
  }
  const expires = new Date(token.expiresAtMs).toISOString();
  if (nowMs >= token.expiresAtMs) {
    throw new FulaError(
      "FULA_TOKEN_EXPIRED",
      `The join token ${token.id} was good until ${expires}; this box's clock says ${new Date(nowMs).toISOString()}.`,
      {
        hint: `make a new one on ${peers.document.issuer}: fula-master token create --role storage (or correct this box's clock).`,
        details: { id: token.id, expiresAt: expires },
      },
    );
  }
  const document = verifyPeers(peers, { keys: [trusted], check, nowMs }, where);
  return {
    clusterSecret: new Secret(clusterSecret),
    swarmKey: swarmKey === undefined ? null : new Secret(swarmKey),
    peers,
    document,
  };
}
