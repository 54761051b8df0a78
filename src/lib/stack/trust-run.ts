import { resolve } from "node:path";
import { changeSetting } from "../config/change.ts";
import { describeSource, loadConfig } from "../config/load.ts";
import type { PathsContext } from "../config/paths.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { readTextIfExists } from "../kernel/files.ts";
import { type KeyId, keyIdOf, rawKeyOf, type TrustedKey } from "../pinset/keys.ts";
import { minisignKeyLine, parseMinisignPublicKey } from "../pinset/minisign.ts";
import { publicKeyFromPem } from "../pinset/signing.ts";
import { checkedKeyId, loadTrustedKeys } from "../pinset/trust.ts";

/** What became of a key; `--json` prints it. */
export interface TrustReport {
  readonly dryRun: boolean;
  readonly keyId: KeyId;
  /** False where it was so already. */
  readonly changed: boolean;
  readonly configFile: string;
  /** `snapshot.trustedKeys` afterwards. */
  readonly trustedKeys: readonly string[];
}

/** A key that is trusted, in both spellings. */
export interface TrustedKeyListing extends TrustedKey {
  /** What `minisign -V -P` takes. */
  readonly minisign: string;
}

/** Adds a key to `snapshot.trustedKeys`. @throws FulaError FULA_KEY_UNUSABLE, FULA_USAGE, FULA_CONFIG_* */
export async function trustKey(
  context: PathsContext & { readonly signal: AbortSignal },
  key: string,
  dryRun: boolean,
): Promise<TrustReport> {
  const keyId = await readKey(key, context.cwd);
  return change(context, keyId, dryRun, (keys) => (keys.includes(keyId) ? keys : [...keys, keyId]));
}

/** Takes a key out of `snapshot.trustedKeys`. @throws FulaError FULA_KEY_UNUSABLE, FULA_USAGE, FULA_CONFIG_* */
export async function untrustKey(
  context: PathsContext & { readonly signal: AbortSignal },
  key: string,
  dryRun: boolean,
): Promise<TrustReport> {
  const keyId = await readKey(key, context.cwd);
  return change(context, keyId, dryRun, (keys) => keys.filter((each) => each !== keyId));
}

/** Every key whose snapshots count here. */
export async function listTrusted(context: PathsContext): Promise<readonly TrustedKeyListing[]> {
  const { config, paths } = await loadConfig(context);
  const keys = await loadTrustedKeys(paths.keysDir, config.snapshot.trustedKeys);
  return keys.map(({ keyId, source }) => ({
    keyId,
    source,
    minisign: minisignKeyLine(rawKeyOf(keyId) ?? new Uint8Array()),
  }));
}

async function change(
  context: PathsContext & { readonly signal: AbortSignal },
  keyId: KeyId,
  dryRun: boolean,
  edit: (keys: readonly string[]) => readonly string[],
): Promise<TrustReport> {
  const { config, paths, sources } = await loadConfig(context);
  const source = sources["snapshot.trustedKeys"];
  if (source.kind !== "file" && source.kind !== "default") {
    throw new FulaError(
      "FULA_USAGE",
      `snapshot.trustedKeys comes from ${describeSource(source)}, which stands above ${paths.configFile}.`,
      { hint: "change it there; keys are separated by commas." },
    );
  }
  const before = config.snapshot.trustedKeys;
  const trustedKeys = edit(before);
  const changed = trustedKeys.length !== before.length;
  if (changed) {
    const typed = trustedKeys.length === 0 ? null : trustedKeys.join(",");
    await changeSetting(context, "snapshot.trustedKeys", typed, { dryRun, signal: context.signal });
  }
  return { dryRun, keyId, changed, configFile: paths.configFile, trustedKeys };
}

/** Finds the key in whatever an operator has of it. */
async function readKey(text: string, cwd: string): Promise<KeyId> {
  if (text.startsWith("ed25519:")) return checkedKeyId(text);
  const typed = parseMinisignPublicKey(text);
  if (typed !== null) return checkedKeyId(keyIdOf(typed));
  const path = resolve(cwd, text);
  const content = await readKeyFile(path);
  if (content.includes("PRIVATE KEY")) {
    throw new FulaError(
      "FULA_KEY_UNUSABLE",
      `${path} is a private key; only its public half is trusted, and it alone may leave its box.`,
      {
        hint: "take the .pub.pem file beside it.",
      },
    );
  }
  return checkedKeyId(keyIdOf(parseMinisignPublicKey(content) ?? fromPem(content, path)));
}

function fromPem(content: string, path: string): Uint8Array {
  try {
    return publicKeyFromPem(content, path);
  } catch (cause) {
    throw new FulaError(
      "FULA_KEY_UNUSABLE",
      `${path} holds no ed25519 public key, neither in PEM nor in minisign's form.`,
      {
        cause,
      },
    );
  }
}

async function readKeyFile(path: string): Promise<string> {
  let content: string | null;
  try {
    content = await readTextIfExists(path);
  } catch (cause) {
    throw new FulaError("FULA_KEY_UNUSABLE", `Cannot read ${path}: ${messageOf(cause)}.`, { cause });
  }
  if (content !== null) return content;
  throw new FulaError("FULA_KEY_UNUSABLE", `${path} is neither a key nor a file.`, {
    hint: "give ed25519:<64 hex digits>, a PEM file with a public key, or a minisign public key.",
  });
}
