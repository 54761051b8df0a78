import { z } from "zod";
import type { LoadedConfig } from "../config/load.ts";
import { createSecretSealer, type SealedUse, type SecretSealer } from "../identity/sealed-secret.ts";
import { FulaError } from "../kernel/errors.ts";
import { Secret } from "../kernel/secret.ts";
import { MASTER_KEY_NAMES, type MasterKeys } from "./federation-secrets.ts";

/** The masters' keys of one epoch of their pool. */
export interface EpochKeys extends MasterKeys {
  readonly epoch: number;
}

type Secrets = LoadedConfig["secrets"];

const hidden = z
  .string()
  .min(1)
  .transform((value) => new Secret(value));
const otherSchema = z
  .array(
    z.strictObject({
      epoch: z.int().min(1),
      systemKey: hidden,
      jwtSecret: hidden,
      sessionSecret: hidden,
      encryptionKey: hidden,
    }),
  )
  .max(16);

function unreadable(): FulaError {
  return new FulaError("FULA_ENV_VALUE", "OTHER_MASTER_SECRETS is nothing that fula-master membership sync wrote.", {
    hint: "take the line out of .env and run fula-master membership sync: it writes it anew.",
  });
}

function jsonOf(secret: Secret): unknown {
  try {
    return JSON.parse(Buffer.from(secret.reveal(), "base64url").toString("utf8"));
  } catch {
    throw unreadable();
  }
}

/**
 * Keys of other epochs that this box also opens and verifies with, the newest first: those of before a rekey, and those
 * that it will use once every master can open what is sealed under them. Empty where there was no rekey.
 * @throws FulaError FULA_ENV_VALUE
 */
export function otherEpochs({ otherMasterSecrets }: Pick<Secrets, "otherMasterSecrets">): readonly EpochKeys[] {
  if (otherMasterSecrets === null) return [];
  const parsed = otherSchema.safeParse(jsonOf(otherMasterSecrets));
  if (!parsed.success) throw unreadable();
  return parsed.data.toSorted((a, b) => b.epoch - a.epoch);
}

/** The same as `.env` keeps it: base64url, so that no reader of such files stumbles over a quote. */
export function renderOtherEpochs(epochs: readonly EpochKeys[]): Secret {
  const plain = epochs.map((keys) => ({
    epoch: keys.epoch,
    ...Object.fromEntries(MASTER_KEY_NAMES.map((name) => [name, keys[name].reveal()])),
  }));
  return new Secret(Buffer.from(JSON.stringify(plain), "utf8").toString("base64url"));
}

/** One of the masters' keys as other epochs have it: what this box opens or verifies with beside its own. */
export function otherKeys(secrets: Secrets, name: keyof MasterKeys): readonly Secret[] {
  return otherEpochs(secrets).map((keys) => keys[name]);
}

/**
 * The sealer of this box: seals under ENCRYPTION_KEY, and opens what was sealed under it or in another epoch.
 * @throws FulaError FULA_ENCRYPTION_KEY_INVALID, FULA_ENV_VALUE
 */
export function sealerOf(secrets: Secrets, use: SealedUse): SecretSealer {
  return createSecretSealer(secrets.encryptionKey, use, otherKeys(secrets, "encryptionKey"));
}
