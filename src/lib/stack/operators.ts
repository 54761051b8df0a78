import { createPrivateKey, createPublicKey } from "node:crypto";
import { resolve } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { envValue, type PathsContext } from "../config/paths.ts";
import { resolveUserId } from "../identity/user-id.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { readTextIfExists } from "../kernel/files.ts";
import type { Authorization, Operator, OperatorRole } from "../membership/records.ts";
import { isActiveAdmin, judge } from "../membership/rules.ts";
import type { MembershipStore } from "../membership/store.ts";
import { keyIdOf } from "../pinset/keys.ts";
import { readOwnPublicKey, readSigningKey, type SigningKey } from "../pinset/signing.ts";

/** Environment variable that names the private key (PKCS#8 PEM, ed25519) of whoever acts, where it is not the box's own. */
const OPERATOR_KEY_ENV = "FULA_OPERATOR_KEY";

/** Longer names are none in a record; an e-mail address may be longer. */
const NAME_MAX = 200;

/** The operator id of whoever has SYSTEM_KEY. */
export const SYSTEM_OPERATOR = "system";

/** Who runs a command, as far as it is known. */
export interface Actor extends Pick<PathsContext, "env"> {
  /** The operator id that the control plane let do it; left out where nobody had to be asked. */
  readonly operator?: string;
}

/**
 * Who runs a command, as the ledger keeps it: `<user>@<node>` for whoever acts as the box, whose operator has the node's
 * name; the operator's id where another key was named.
 */
export function actorOf({ env, operator }: Actor, { config }: Pick<LoadedConfig, "config">): string {
  const person = env["SUDO_USER"] ?? env["USER"] ?? "operator";
  return `${isOwnKey({ env }) && operator !== undefined ? operator : person}@${config.node.name}`;
}

/** True for whoever acts with a key of his own instead of the box's. */
export function isOwnKey({ env }: Pick<Actor, "env">): boolean {
  return envValue(env, OPERATOR_KEY_ENV) !== undefined;
}

/** The operator id of a user of the ledger. @param userId 64 hex digits */
export function userOperatorId(userId: string): string {
  return `user:${userId}`;
}

/** The operator id of a box: that of the key that signs its snapshots; null where it has none. */
export async function boxOperatorId({ paths }: Pick<LoadedConfig, "paths">): Promise<string | null> {
  const publicKey = await readOwnPublicKey(paths.keysDir);
  return publicKey === null ? null : keyIdOf(publicKey);
}

function unreadableKey(path: string, why: string, cause?: unknown): FulaError {
  return new FulaError("FULA_OPERATOR_KEY_INVALID", `${OPERATOR_KEY_ENV} names ${path}, and ${why}.`, {
    hint: `name a private ed25519 key in PEM (openssl genpkey -algorithm ed25519 -out operator.pem), or unset ${OPERATOR_KEY_ENV} to act as this box.`,
    details: { path },
    cause,
  });
}

/** @throws FulaError FULA_OPERATOR_KEY_INVALID */
async function keyIdOfFile(path: string): Promise<string> {
  let pem: string | null;
  try {
    pem = await readTextIfExists(path);
  } catch (error) {
    throw unreadableKey(path, `it cannot be read: ${messageOf(error)}`, error);
  }
  if (pem === null) throw unreadableKey(path, "there is no such file");
  try {
    // The private half must be there: whoever has only the public one is not who he says.
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType !== "ed25519") throw new Error(`it is a key of ${key.asymmetricKeyType ?? "no kind"}`);
    const { x } = createPublicKey(key).export({ format: "jwk" });
    return keyIdOf(Buffer.from(x ?? "", "base64url"));
  } catch (error) {
    throw unreadableKey(path, "it has no private ed25519 key without a passphrase in PEM", error);
  }
}

/** The private half: whoever may only read the public one is not the box. @throws FulaError FULA_OPERATOR_KEY_INVALID */
async function readBoxKey(keysDir: string): Promise<SigningKey | null> {
  try {
    return await readSigningKey(keysDir);
  } catch (cause) {
    if (isFulaError(cause)) throw cause;
    const message = `The key of this box in ${keysDir} cannot be read: ${messageOf(cause)}.`;
    throw new FulaError("FULA_OPERATOR_KEY_INVALID", message, {
      cause,
      hint: `run the command as the user that fula-master was set up by, or name a key of your own with ${OPERATOR_KEY_ENV}.`,
      details: { keysDir },
    });
  }
}

/**
 * Who acts when somebody runs a command on this box: the key that FULA_OPERATOR_KEY names, else the box itself.
 * @throws FulaError FULA_OPERATOR_KEY_INVALID, FULA_SIGNING_KEY_INVALID, FULA_NOT_JOINED where the box has no key
 */
export async function actingOperator(
  loaded: Pick<LoadedConfig, "paths">,
  { env, cwd }: Pick<PathsContext, "env" | "cwd">,
): Promise<string> {
  const named = envValue(env, OPERATOR_KEY_ENV);
  if (named !== undefined) return await keyIdOfFile(resolve(cwd, named));
  const own = await readBoxKey(loaded.paths.keysDir);
  if (own !== null) return own.keyId;
  throw new FulaError("FULA_NOT_JOINED", `This box has no key to act with: there is none in ${loaded.paths.keysDir}.`, {
    hint: `fula-master join makes it; or name an operator's key with ${OPERATOR_KEY_ENV}.`,
  });
}

async function seedsOf(loaded: LoadedConfig, clock: Clock): Promise<readonly Operator[]> {
  const { config } = loaded;
  const own = await boxOperatorId(loaded);
  const createdAt = new Date(clock.nowMs()).toISOString();
  const active = (id: string, role: OperatorRole, name: string): Operator => ({
    id,
    role,
    status: "active",
    name,
    createdAt,
  });
  return [
    ...(own === null ? [] : [active(own, "admin", config.node.name)]),
    ...config.api.admins.map((admin) =>
      active(userOperatorId(resolveUserId(admin)), "admin", admin.slice(0, NAME_MAX)),
    ),
    active(SYSTEM_OPERATOR, "operator", "SYSTEM_KEY"),
  ];
}

/**
 * Those whom `seedOperators` would add: who has no record yet. A box that may not say who acts vouches for nobody:
 * `join` takes no role, and would let in through `api.admins` whom it likes.
 * @throws what the store throws
 */
export async function missingOperators(
  store: Pick<MembershipStore, "listOperators">,
  loaded: LoadedConfig,
  { clock }: { readonly clock: Clock },
): Promise<readonly Operator[]> {
  const own = await boxOperatorId(loaded);
  const there = new Map((await store.listOperators()).map((operator) => [operator.id, operator]));
  const self = own === null ? undefined : there.get(own);
  if (self !== undefined && !isActiveAdmin(self)) return [];
  return (await seedsOf(loaded, clock)).filter(({ id }) => !there.has(id));
}

/**
 * Writes down those who may act from the beginning: this box as admin, the `api.admins` of its settings as admins, and
 * whoever has SYSTEM_KEY as operator. Never over a record that is there: who was revoked stays so.
 * @returns the ids that were added
 * @throws what the store throws
 */
export async function seedOperators(
  store: Pick<MembershipStore, "listOperators" | "addOperator">,
  loaded: LoadedConfig,
  deps: { readonly clock: Clock },
): Promise<readonly string[]> {
  const added: string[] = [];
  for (const operator of await missingOperators(store, loaded, deps)) {
    try {
      await store.addOperator(operator);
      added.push(operator.id);
    } catch (error) {
      if (!isFulaError(error, "FULA_MEMBERSHIP_EXISTS")) throw error;
    }
  }
  return added;
}

/** What a control plane that is not made yet would say once `seedOperators` has been. */
export async function foreseeAuthorization(
  loaded: LoadedConfig,
  { id, role }: { readonly id: string; readonly role: OperatorRole },
  { clock }: { readonly clock: Clock },
): Promise<Authorization> {
  const seeds = await seedsOf(loaded, clock);
  return judge({
    id,
    operator: seeds.find((seed) => seed.id === id) ?? null,
    hasAdmin: seeds.some((seed) => seed.role === "admin"),
    role,
    ageMs: 0,
  });
}
