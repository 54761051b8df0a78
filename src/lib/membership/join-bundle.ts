import { createCipheriv, createDecipheriv, createHash, hkdfSync } from "node:crypto";
import { z } from "zod";
import type { SecretKey } from "../config/schema.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import { type FederationPeer, peersSchema, type ReplicationFactors, replicationSchema } from "./federation.ts";
import type { JoinToken } from "./join-token.ts";

/** Secrets that must be equal on all masters: what one signs or encrypts, the others must be able to read. */
export const SHARED_SECRETS = [
  "systemKey",
  "jwtSecret",
  "sessionSecret",
  "encryptionKey",
  "clusterSecret",
  "swarmKey",
  "otherMasterSecrets",
] as const satisfies readonly SecretKey[];

/** The name of a secret that all masters share. */
export type SharedSecretKey = (typeof SHARED_SECRETS)[number];

/** Those that a master may be without. */
type OptionalSecretKey = "clusterSecret" | "swarmKey" | "otherMasterSecrets";

/**
 * The secrets that all masters share. `clusterSecret` is null where an adopted cluster keeps its own to itself, `swarmKey`
 * (64 hex digits) where Kubo is somebody else's, `otherMasterSecrets` where no rekey is under way.
 */
export type SharedSecrets = Readonly<Record<Exclude<SharedSecretKey, OptionalSecretKey>, Secret>> &
  Readonly<Record<OptionalSecretKey, Secret | null>>;

/** Who vouches for the control plane's servers to one another. */
export interface CertificateAuthority {
  /** PEM; several one after another while a new one takes the place of an old one: the newest is the first. */
  readonly certificate: string;
  /** Of the first certificate: PKCS#8, PEM. */
  readonly key: Secret;
}

/**
 * How a further master comes to the control plane: not at all (each master has its own file), by a server of its own that
 * joins those of the others, or at servers that run for themselves.
 */
export type BundleControlPlane =
  | { readonly mode: "sqlite" }
  /** `routes`: `host:port` of the servers of the masters. */
  | { readonly mode: "docker"; readonly routes: readonly string[]; readonly ca: CertificateAuthority }
  /**
   * `servers`: `nats://…` or `tls://…`. The NKey for them is not in the bundle: whoever runs them gives it. `ca` vouches for
   * the boxes' PostgreSQL alone; null where the issuer has none yet.
   */
  | { readonly mode: "nats"; readonly servers: readonly string[]; readonly ca: CertificateAuthority | null };

/** Everything that a further master needs to be one with the first. */
export interface JoinBundle {
  /** The name of the federation's pinset. */
  readonly clusterId: string;
  /** Name of the master that made it. */
  readonly issuer: string;
  readonly secrets: SharedSecrets;
  /**
   * The epochs of the control plane's pools that the secrets are of; null where the control plane has no such pool. Those
   * of `masters` are the ones in use, and may be behind its newest, which is then among `otherMasterSecrets`.
   */
  readonly epochs: Readonly<Record<"masters" | "cluster" | "swarm", number | null>>;
  readonly controlPlane: BundleControlPlane;
  readonly masters: readonly FederationPeer[];
  readonly replication: ReplicationFactors;
  /** Keys whose snapshots the masters trust: `ed25519:…`. */
  readonly trustedKeys: readonly string[];
}

// Layout of a sealed bundle: version (1), nonce (12), ciphertext, tag (16). Version 2 brought the control plane.
const VERSION = 2;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

const secretSchema = z
  .string()
  .min(1)
  .transform((text) => new Secret(text));

const epochSchema = z.int().min(1).nullable();

const authoritySchema = z.strictObject({
  certificate: z.string().startsWith("-----BEGIN CERTIFICATE-----"),
  key: secretSchema,
});

const controlPlaneSchema = z.discriminatedUnion("mode", [
  z.strictObject({ mode: z.literal("sqlite") }),
  z.strictObject({
    mode: z.literal("docker"),
    routes: z.array(z.string().regex(/^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}$/)).max(64),
    ca: authoritySchema,
  }),
  z.strictObject({
    mode: z.literal("nats"),
    servers: z.array(z.string().regex(/^(?:nats|tls):\/\/[A-Za-z0-9.:[\]-]+$/)).max(64),
    ca: authoritySchema.nullable(),
  }),
]);

const bundleSchema = z.strictObject({
  clusterId: z.uuid(),
  issuer: z.string(),
  secrets: z.strictObject({
    systemKey: secretSchema,
    jwtSecret: secretSchema,
    sessionSecret: secretSchema,
    encryptionKey: secretSchema,
    clusterSecret: secretSchema.nullable(),
    swarmKey: secretSchema.nullable(),
    otherMasterSecrets: secretSchema.nullable(),
  }),
  epochs: z.strictObject({ masters: epochSchema, cluster: epochSchema, swarm: epochSchema }),
  controlPlane: controlPlaneSchema,
  masters: peersSchema,
  replication: replicationSchema,
  trustedKeys: z.array(z.string().regex(/^ed25519:[0-9a-f]{64}$/)),
});

/** A key for one purpose, from the key in the token's text (RFC 5869); the id as salt makes it this token's alone. */
function derive({ id, body }: JoinToken, purpose: string): Uint8Array {
  return new Uint8Array(
    hkdfSync("sha256", Buffer.from(body.reveal(), "hex"), id, `fula-master join token ${purpose} v1`, 32),
  );
}

/** Binds a bundle to its row: copied under another id, or given another expiry, it does not open. */
function boundTo({ id, expiresAtMs }: JoinToken): Buffer {
  return Buffer.from(`fula-master join bundle v1\n${id}\n${expiresAtMs}`, "utf8");
}

/** What the ledger keeps to tell the right key from a wrong one, before a token counts as used. It opens nothing. */
export function verifierOf(token: JoinToken): Uint8Array {
  return derive(token, "verifier");
}

function controlPlaneJson(controlPlane: BundleControlPlane): unknown {
  if (controlPlane.mode === "sqlite" || controlPlane.ca === null) return controlPlane;
  const { certificate, key } = controlPlane.ca;
  return { ...controlPlane, ca: { certificate, key: key.reveal() } };
}

function bundleJson(bundle: JoinBundle): string {
  return JSON.stringify({
    ...bundle,
    secrets: Object.fromEntries(SHARED_SECRETS.map((key) => [key, bundle.secrets[key]?.reveal() ?? null])),
    controlPlane: controlPlaneJson(bundle.controlPlane),
  });
}

/** Seals a bundle for the ledger (AES-256-GCM) under the key that stands in the token's text alone. */
export function sealBundle(bundle: JoinBundle, token: JoinToken, random: Random): Uint8Array {
  const nonce = random.bytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", derive(token, "bundle"), nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(boundTo(token));
  const body = Buffer.concat([cipher.update(bundleJson(bundle), "utf8"), cipher.final()]);
  return Buffer.concat([Buffer.of(VERSION), nonce, body, cipher.getAuthTag()]);
}

function damaged(why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_TOKEN_INVALID", `The bundle of this join token cannot be used: ${why}.`, {
    cause,
    hint: "make a new token on a master that runs the same version: fula-master token create",
  });
}

function decrypt(sealed: Uint8Array, token: JoinToken): string {
  const version = sealed[0] ?? 0;
  if (version < VERSION && version > 0)
    throw damaged(`an older fula-master made it (layout ${version}, not ${VERSION})`);
  if (version !== VERSION || sealed.byteLength < 1 + NONCE_BYTES + TAG_BYTES)
    throw damaged("it has a layout that this version does not know");
  const decipher = createDecipheriv("aes-256-gcm", derive(token, "bundle"), sealed.subarray(1, 1 + NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(boundTo(token));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    const body = sealed.subarray(1 + NONCE_BYTES, -TAG_BYTES);
    return Buffer.concat([decipher.update(body), decipher.final()]).toString("utf8");
  } catch (cause) {
    throw damaged("it does not open with the token's key, so it was changed in the ledger", cause);
  }
}

/** Opens a sealed bundle. @throws FulaError FULA_TOKEN_INVALID where it was changed or is of another version */
export function openBundle(sealed: Uint8Array, token: JoinToken): JoinBundle {
  const parsed = bundleSchema.safeParse(JSON.parse(decrypt(sealed, token)));
  if (!parsed.success) throw damaged("a newer or older fula-master made it", parsed.error);
  return parsed.data;
}

function isOptional(key: SharedSecretKey): key is OptionalSecretKey {
  return key === "clusterSecret" || key === "swarmKey" || key === "otherMasterSecrets";
}

/**
 * A digest over the secrets that every master has, by which they can be seen to have the same ones. All of them are in
 * it together, so that it gives none away as long as a single one cannot be guessed. Those that a
 * master may be without are left out.
 */
export function secretsDigest(secrets: Omit<SharedSecrets, OptionalSecretKey>): string {
  const hash = createHash("sha256").update("fula-master shared secrets v1\n");
  for (const key of SHARED_SECRETS) {
    if (!isOptional(key)) hash.update(`${key}\n${secrets[key].reveal()}\n`);
  }
  return hash.digest("hex");
}
