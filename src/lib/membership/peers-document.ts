import canonical from "canonicalize";
import { z } from "zod";
import { FulaError } from "../kernel/errors.ts";
import {
  CID_TEXT,
  type CheckSignature,
  type DocumentSigner,
  type FederationPeer,
  peersSchema,
  type ReplicationFactors,
  replicationSchema,
} from "./federation.ts";

/** Who the masters of a federation are and how they are reached, as one of them says it. */
export interface PeersDocument {
  readonly format: 1;
  /** The name of the federation's pinset. */
  readonly clusterId: string;
  /** Name of the master that made it. */
  readonly issuer: string;
  /** RFC 3339, UTC. */
  readonly issuedAt: string;
  readonly expiresAt: string;
  readonly masters: readonly FederationPeer[];
  readonly replication: ReplicationFactors;
  /** CID of a small block that every peer has to hold: by it a storage node sees that it replicates. */
  readonly probe: string;
}

/** A peers document with the key and the signature that vouch for it; this is what lies in a file or at a URL. */
export interface SignedPeers {
  readonly document: PeersDocument;
  /** `ed25519:<hex>` of the master that signed it. It proves nothing by itself: the reader must know the key. */
  readonly key: string;
  /** Base64 of the raw signature over the domain line and the canonical JSON (RFC 8785) of `document`. */
  readonly signature: string;
}

// Snapshots are signed with the same key; what is signed here can be taken for nothing else.
const DOMAIN = "fula-master peers document v1\n";
/** A clock that is this much behind the master's is no reason to refuse its document. */
const CLOCK_SKEW_MARGIN_MS = 300_000;

const documentSchema = z.strictObject({
  format: z.literal(1),
  clusterId: z.uuid(),
  issuer: z.string().min(1).max(63),
  issuedAt: z.iso.datetime(),
  expiresAt: z.iso.datetime(),
  masters: peersSchema,
  replication: replicationSchema,
  probe: z.string().regex(CID_TEXT),
});

/** The shape of a signed document, for whoever embeds one. */
export const signedPeersSchema = z.strictObject({
  document: documentSchema,
  key: z.string().regex(/^ed25519:[0-9a-f]{64}$/),
  signature: z.base64().max(88),
});

function signedBytes(document: PeersDocument): Uint8Array {
  return Buffer.from(`${DOMAIN}${canonical(document) ?? ""}`, "utf8");
}

/** Signs a document. */
export function signPeers(document: PeersDocument, signer: DocumentSigner): SignedPeers {
  const signature = Buffer.from(signer.sign(signedBytes(document))).toString("base64");
  return { document, key: signer.keyId, signature };
}

/** What the pool lists of the older fleet have (`https://pools.fx.land/pools/<name>`). */
const OLD_POOL_KEYS = ["ipfs-cluster-trustedpeers", "ipfs-cluster-peerid", "ipfs_cluster"];

function isOldPool(value: unknown): boolean {
  return typeof value === "object" && value !== null && OLD_POOL_KEYS.some((key) => key in value);
}

function invalid(where: string, why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_PEERS_INVALID", `${where} is no peers document: ${why}.`, {
    cause,
    hint: "make one on a master: fula-master peers export --output peers.json",
  });
}

/**
 * Reads a signed document, without trusting it yet.
 * @param where the file or URL, for messages
 * @throws FulaError FULA_PEERS_INVALID, FULA_PEERS_UNSIGNED for the pool lists of the older fleet
 */
export function parseSignedPeers(text: string, where: string): SignedPeers {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(where, "it is no JSON", cause);
  }
  const parsed = signedPeersSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  if (isOldPool(value)) {
    throw new FulaError(
      "FULA_PEERS_UNSIGNED",
      `${where} is a pool list of the older fleet: nobody has signed it, so whoever can change it could name the masters.`,
      {
        hint: "get a signed one from a master: fula-master peers export --output peers.json, and its key: fula-master key trusted",
      },
    );
  }
  const [issue] = parsed.error.issues;
  throw invalid(
    where,
    issue === undefined ? "it has another form" : `${issue.path.join(".")}: ${issue.message}`,
    parsed.error,
  );
}

/** What decides whether a document counts. */
export interface PeersTrust {
  /** Keys that may sign it. */
  readonly keys: readonly string[];
  readonly check: CheckSignature;
  readonly nowMs: number;
}

/** @throws FulaError FULA_PEERS_EXPIRED */
function assertInForce({ issuedAt, expiresAt, issuer }: PeersDocument, where: string, nowMs: number): void {
  const now = new Date(nowMs).toISOString();
  if (nowMs >= Date.parse(expiresAt)) {
    throw new FulaError("FULA_PEERS_EXPIRED", `${where} was good until ${expiresAt}; this box's clock says ${now}.`, {
      hint: `get a new one from ${issuer}: fula-master peers export (or correct this box's clock).`,
      details: { expiresAt, now },
    });
  }
  if (Date.parse(issuedAt) > nowMs + CLOCK_SKEW_MARGIN_MS) {
    throw new FulaError(
      "FULA_PEERS_EXPIRED",
      `${where} is of ${issuedAt}, which is in the future: this box's clock says ${now}.`,
      {
        hint: "correct this box's clock (timedatectl), or that of the master; then try again.",
        details: { issuedAt, now },
      },
    );
  }
}

/**
 * Checks that a trusted key has signed the document and that it is in force.
 * @throws FulaError FULA_PEERS_SIGNATURE, FULA_PEERS_EXPIRED
 */
export function verifyPeers(signed: SignedPeers, trust: PeersTrust, where: string): PeersDocument {
  const { document, key, signature } = signed;
  if (!trust.keys.includes(key)) {
    throw new FulaError(
      "FULA_PEERS_SIGNATURE",
      `${where} is signed by ${key}, and ${trust.keys.length === 1 ? `only ${trust.keys[0]} is` : `that is none of the ${trust.keys.length} keys that are`} trusted here.`,
      {
        hint: "compare the key with what fula-master key trusted prints on the master; if it is right, give it with --peers-key.",
        details: { key, trusted: trust.keys },
      },
    );
  }
  if (!trust.check(key, signedBytes(document), Buffer.from(signature, "base64"))) {
    throw new FulaError(
      "FULA_PEERS_SIGNATURE",
      `The signature of ${where} does not match: it was changed after ${key} signed it.`,
      {
        hint: "get it again from the master: fula-master peers export",
        details: { key },
      },
    );
  }
  assertInForce(document, where, trust.nowMs);
  return document;
}

/** Keys that may sign the next document after this one was accepted: its own, and those of the masters it names. */
export function successorKeys({ document, key }: SignedPeers): readonly string[] {
  return [...new Set([key, ...document.masters.flatMap(({ signingKey }) => signingKey ?? [])])];
}

/**
 * Refuses a step back: a document of another federation, or one that is older than what was accepted before, which
 * somebody may have kept to bring back a master that was put out.
 * @throws FulaError FULA_PEERS_OLDER, FULA_FEDERATION_FOREIGN
 */
export function assertFollows(next: PeersDocument, accepted: PeersDocument, where: string): void {
  if (next.clusterId !== accepted.clusterId) {
    throw new FulaError(
      "FULA_FEDERATION_FOREIGN",
      `${where} is of cluster ${next.clusterId}, and this node belongs to cluster ${accepted.clusterId}.`,
      {
        hint: "join the other federation in another --base-dir and --project.",
        details: { node: accepted.clusterId, document: next.clusterId },
      },
    );
  }
  if (Date.parse(next.issuedAt) >= Date.parse(accepted.issuedAt)) return;
  throw new FulaError(
    "FULA_PEERS_OLDER",
    `${where} is of ${next.issuedAt}, older than the one of ${accepted.issuedAt} that this node has.`,
    {
      hint: "get a new one from a master: fula-master peers export",
      details: { accepted: accepted.issuedAt, document: next.issuedAt },
    },
  );
}
