import { stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { ExecaError, execa } from "execa";
import { FulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";

/** A user of this machine. */
export interface SystemUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * Which system user the embedded server will run as: ourselves where we are not root, else one that exists, else one
 * that must be made first. PostgreSQL refuses to run as root.
 */
export type PostgresUserPlan =
  | { readonly kind: "self"; readonly user: SystemUser }
  | { readonly kind: "existing"; readonly user: SystemUser }
  | { readonly kind: "create"; readonly name: string };

/** Made where no user named `postgres` exists. */
const CREATED_USER_NAME = "fula-postgres";
const USUAL_USER_NAME = "postgres";

/** Looks a user up by name or number, through every source the machine knows (files, LDAP, …). */
async function lookUpUser(nameOrUid: string): Promise<SystemUser | null> {
  try {
    const { stdout } = await execa("getent", ["passwd", nameOrUid]);
    const [name, , uid, gid] = stdout.trim().split(":");
    if (name === undefined || uid === undefined || gid === undefined) return null;
    return { name, uid: Number(uid), gid: Number(gid) };
  } catch (error) {
    // getent(1): 2 = no such key.
    if (error instanceof ExecaError && error.exitCode === 2) return null;
    throw new FulaError("FULA_POSTGRES_USER", `Cannot look up the user ${nameOrUid}: ${messageOf(error)}.`, {
      cause: error,
      hint: "install getent (package libc-bin), or run fula-master as an ordinary user.",
    });
  }
}

async function ownerOf(dir: string): Promise<number | null> {
  try {
    return (await stat(dir)).uid;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

function planForOrdinaryUser(
  self: SystemUser,
  runAs: string | undefined,
  ownerUid: number | null,
  dataDir: string,
): PostgresUserPlan {
  if (runAs !== undefined && runAs !== self.name) {
    throw new FulaError(
      "FULA_POSTGRES_USER",
      `Cannot run PostgreSQL as ${runAs}: we are ${self.name}, and only root may switch.`,
      {
        hint: "remove postgres.runAs from the settings, or run fula-master as root.",
      },
    );
  }
  if (ownerUid !== null && ownerUid !== self.uid) {
    throw new FulaError(
      "FULA_POSTGRES_USER",
      `${dataDir} belongs to user ${ownerUid}, but we are ${self.name} (${self.uid}).`,
      {
        hint: "run the command as the user who owns it, or as root.",
      },
    );
  }
  return { kind: "self", user: self };
}

async function planForRoot(
  runAs: string | undefined,
  ownerUid: number | null,
  dataDir: string,
): Promise<PostgresUserPlan> {
  const owner = ownerUid === null || ownerUid === 0 ? null : await lookUpUser(String(ownerUid));
  const wanted = runAs === undefined ? null : await lookUpUser(runAs);
  if (runAs !== undefined && wanted === null) {
    throw new FulaError("FULA_POSTGRES_USER", `The user ${runAs}, which postgres.runAs names, does not exist.`, {
      hint: `useradd --system ${runAs}, or remove postgres.runAs: a user is then found or made.`,
    });
  }
  if (wanted?.uid === 0) {
    throw new FulaError("FULA_POSTGRES_USER", "postgres.runAs is root, and PostgreSQL refuses to run as root.", {
      hint: "name another user, or remove postgres.runAs.",
    });
  }
  if (wanted !== null && owner !== null && wanted.uid !== owner.uid) {
    throw new FulaError(
      "FULA_POSTGRES_USER",
      `postgres.runAs is ${wanted.name}, but ${dataDir} belongs to ${owner.name}.`,
      {
        hint: `stop the server, then: chown -R ${wanted.name}: ${dataDir}`,
      },
    );
  }
  // The owner of what is there comes before the usual name: a user `postgres` may have appeared since.
  const user = wanted ?? owner ?? (await lookUpUser(USUAL_USER_NAME)) ?? (await lookUpUser(CREATED_USER_NAME));
  return user === null ? { kind: "create", name: CREATED_USER_NAME } : { kind: "existing", user };
}

/**
 * Decides which system user the embedded server runs as; changes nothing.
 * @throws FulaError FULA_POSTGRES_USER
 */
export async function planPostgresUser(options: {
  readonly runAs?: string | undefined;
  readonly dataDir: string;
}): Promise<PostgresUserPlan> {
  const ownerUid = await ownerOf(options.dataDir);
  const { username, uid, gid } = userInfo();
  if (uid !== 0) return planForOrdinaryUser({ name: username, uid, gid }, options.runAs, ownerUid, options.dataDir);
  return await planForRoot(options.runAs, ownerUid, options.dataDir);
}

/**
 * Makes the planned user real. @returns the user, and whether it was made now
 * @throws FulaError FULA_POSTGRES_USER
 */
export async function ensurePostgresUser(
  plan: PostgresUserPlan,
): Promise<{ readonly user: SystemUser; readonly created: boolean }> {
  if (plan.kind !== "create") return { user: plan.user, created: false };
  try {
    await execa("useradd", [
      "--system",
      "--user-group",
      "--no-create-home",
      "--home-dir",
      "/nonexistent",
      "--shell",
      "/usr/sbin/nologin",
      plan.name,
    ]);
  } catch (error) {
    throw new FulaError("FULA_POSTGRES_USER", `Cannot make the system user ${plan.name}: ${messageOf(error)}.`, {
      cause: error,
      hint: "make a user for it by hand and name it as postgres.runAs, or run fula-master as an ordinary user.",
    });
  }
  const user = await lookUpUser(plan.name);
  if (user === null) throw new Error(`useradd made no user ${plan.name}`);
  return { user, created: true };
}

/** What `child_process` takes to run something as that user; nothing where it is ourselves. */
export function spawnIdentity(user: SystemUser): { readonly uid?: number; readonly gid?: number } {
  return user.uid === userInfo().uid ? {} : { uid: user.uid, gid: user.gid };
}
