import canonical from "canonicalize";
import { z } from "zod";
import { FulaError } from "../kernel/errors.ts";
import { Secret } from "../kernel/secret.ts";
import type { CertificateAuthority } from "../membership/join-bundle.ts";

/** The pools whose members are the masters; each has one secret an epoch. */
export const FEDERATION_POOLS = ["masters", "cluster", "swarm"] as const;

/** Names one of them. */
export type FederationPool = (typeof FEDERATION_POOLS)[number];

/** What people read of each. */
export const POOL_NAMES: Readonly<Record<FederationPool, string>> = {
  masters: "Secrets that all masters share",
  cluster: "IPFS Cluster secret",
  swarm: "Kubo swarm key",
};

/** What masters sign and seal with. */
export interface MasterKeys {
  readonly systemKey: Secret;
  readonly jwtSecret: Secret;
  readonly sessionSecret: Secret;
  readonly encryptionKey: Secret;
}

/** The names of those keys. */
export const MASTER_KEY_NAMES = [
  "systemKey",
  "jwtSecret",
  "sessionSecret",
  "encryptionKey",
] as const satisfies readonly (keyof MasterKeys)[];

/** The secret of the pool `masters`. */
export interface MastersSecret extends MasterKeys {
  /** Who vouches for the control plane's servers; null where it has none, being a file. One certificate, not several. */
  readonly controlPlaneCa: CertificateAuthority | null;
}

const text = z.string().min(1);
const mastersSchema = z.strictObject({
  systemKey: text,
  jwtSecret: text,
  sessionSecret: text,
  encryptionKey: text,
  controlPlaneCa: z.strictObject({ certificate: text, key: text }).nullable(),
});

/** The secret of the pool `masters` as it is sealed. */
export function renderMastersSecret({ controlPlaneCa, ...keys }: MastersSecret): Secret {
  const plain = {
    ...Object.fromEntries(MASTER_KEY_NAMES.map((name) => [name, keys[name].reveal()])),
    controlPlaneCa:
      controlPlaneCa === null ? null : { certificate: controlPlaneCa.certificate, key: controlPlaneCa.key.reveal() },
  };
  return new Secret(canonical(plain) ?? "");
}

function unreadable(pool: FederationPool): FulaError {
  return new FulaError(
    "FULA_CONTROL_PLANE_UNREADABLE",
    `The secret of pool ${pool} has a form that this version does not know.`,
    { hint: "install the newest fula-master on this box; nothing was changed." },
  );
}

function jsonOf(secret: Secret): unknown {
  try {
    return JSON.parse(secret.reveal());
  } catch {
    // What stands in the parser's message may be of the secret.
    return null;
  }
}

/** Reads it back. @throws FulaError FULA_CONTROL_PLANE_UNREADABLE */
export function parseMastersSecret(secret: Secret): MastersSecret {
  const parsed = mastersSchema.safeParse(jsonOf(secret));
  if (!parsed.success) throw unreadable("masters");
  const { systemKey, jwtSecret, sessionSecret, encryptionKey, controlPlaneCa } = parsed.data;
  return {
    systemKey: new Secret(systemKey),
    jwtSecret: new Secret(jwtSecret),
    sessionSecret: new Secret(sessionSecret),
    encryptionKey: new Secret(encryptionKey),
    controlPlaneCa:
      controlPlaneCa === null ? null : { certificate: controlPlaneCa.certificate, key: new Secret(controlPlaneCa.key) },
  };
}

/** Checks the secret of `cluster` or `swarm`: 64 hex digits. @throws FulaError FULA_CONTROL_PLANE_UNREADABLE */
export function parseNetworkKey(pool: "cluster" | "swarm", secret: Secret): Secret {
  if (/^[0-9a-f]{64}$/.test(secret.reveal())) return secret;
  throw unreadable(pool);
}

/** True where two texts are the same secret. */
export function isSameSecret(a: Secret | null, b: Secret | null): boolean {
  return a?.reveal() === b?.reveal();
}

/** Names of the keys that differ; empty where the two are one. */
export function differingKeys(a: MasterKeys, b: MasterKeys): readonly (keyof MasterKeys)[] {
  return MASTER_KEY_NAMES.filter((name) => !isSameSecret(a[name], b[name]));
}
