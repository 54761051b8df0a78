import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { OperatorRole } from "../../../src/lib/membership/records.ts";
import type { MembershipStore } from "../../../src/lib/membership/store.ts";
import { keyIdOf } from "../../../src/lib/pinset/keys.ts";
import { withControlPlane } from "../../../src/lib/stack/control-plane.ts";
import { boxOperatorId, seedOperators } from "../../../src/lib/stack/operators.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";

let opened: ServingBox | null = null;

afterEach(async () => {
  await opened?.[Symbol.asyncDispose]();
  opened = null;
});

async function makeBox(more: Parameters<typeof makeServingBox>[0] = {}): Promise<ServingBox> {
  opened = await makeServingBox(more);
  return opened;
}

const CREATE = ["key", "create", "--user", "alice@example.com"];

async function run(box: ServingBox, argv: readonly string[], env: Record<string, string> = {}): Promise<CliRun> {
  return await runCliForTest(argv, { baseDir: box.baseDir, env });
}

async function inStore<T>(box: ServingBox, use: (store: MembershipStore) => Promise<T>): Promise<T> {
  const deps = { clock: systemClock, random: systemRandom, signal: new AbortController().signal };
  return await withControlPlane(await box.load(), deps, use);
}

async function ownId(box: ServingBox): Promise<string> {
  return (await boxOperatorId(await box.load())) ?? "";
}

/** A person with a key of his own; on record where a role is given. */
async function makePerson(
  box: ServingBox,
  role?: OperatorRole,
): Promise<{ id: string; file: string; env: Record<string, string> }> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const id = keyIdOf(Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url"));
  const file = join(box.baseDir, `person-${id.slice(8, 16)}.pem`);
  writeFileSync(file, privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
  if (role !== undefined) {
    await inStore(box, async (store) => {
      await store.addOperator({ id, role, status: "active", name: "ada", createdAt: "2026-11-20T03:00:00.000Z" });
    });
  }
  return { id, file, env: { FULA_OPERATOR_KEY: file } };
}

async function audit(box: ServingBox, action: string): Promise<readonly Record<string, unknown>[]> {
  const { rows } = await box.database.pool.query(
    "select actor, target_id, details from admin_audit_log where action = $1 order by id",
    [action],
  );
  return rows;
}

describe("a box whose control plane is in a file", () => {
  test("is made with this box, its administrators and the system key as operators", async () => {
    const box = await makeBox({ api: { admins: ["Root@Example.org"] } });
    const operators = await inStore(box, async (store) => await store.listOperators());
    expect(operators.map(({ id, role, name }) => [id.split(":")[0], role, name])).toEqual([
      ["ed25519", "admin", "box-1"],
      ["system", "operator", "SYSTEM_KEY"],
      ["user", "admin", "Root@Example.org"],
    ]);
    const installation: unknown = JSON.parse(readFileSync(join(box.baseDir, "state/installation.json"), "utf8"));
    expect(installation).toMatchObject({ made: ["control-plane"] });
  });

  test("is never seeded over a record: who was revoked stays so", async () => {
    const box = await makeBox();
    const own = await ownId(box);
    await makePerson(box, "admin");
    await inStore(box, async (store) => {
      await store.changeOperator(own, { status: "revoked" });
      expect(await seedOperators(store, await box.load(), { clock: systemClock })).toEqual([]);
      expect(await store.getOperator(own)).toMatchObject({ status: "revoked" });
    });
  });

  test("whose key is revoked or is no admin's vouches for no administrators of its settings, an admin's does", async () => {
    const box = await makeBox();
    const own = await ownId(box);
    await makePerson(box, "admin");
    const loaded = await box.load();
    const api = { ...loaded.config.api, admins: ["mallory@example.org"] };
    const changed = { ...loaded, config: { ...loaded.config, api } };
    const seed = async (change: Parameters<MembershipStore["changeOperator"]>[1]): Promise<number> =>
      await inStore(box, async (store) => {
        await store.changeOperator(own, change);
        return (await seedOperators(store, changed, { clock: systemClock })).length;
      });
    expect(await seed({ status: "revoked" })).toBe(0);
    expect(await seed({ status: "active", role: "operator" })).toBe(0);
    expect(await seed({ role: "admin" })).toBe(1);
  });

  test("whose key is revoked is refused by every command that changes anything, and the audit log shows it", async () => {
    const box = await makeBox();
    const own = await ownId(box);
    await makePerson(box, "admin");
    expect((await run(box, CREATE)).exitCode).toBe(0);
    await inStore(box, async (store) => await store.changeOperator(own, { status: "revoked" }));
    const { exitCode, stdout, stderr } = await run(box, CREATE);
    expect([exitCode, stdout]).toEqual([3, ""]);
    expect(stderr).toContain("FULA_NOT_AUTHORIZED");
    expect(stderr).toContain(`fula-master membership operator restore ${own}`);
    expect((await run(box, [...CREATE, "--dry-run"])).exitCode).toBe(3);
    expect(await audit(box, "authorization.refuse")).toEqual([
      {
        actor: `${own}@box-1`,
        target_id: "key create",
        details: { command: "key create", role: "operator", reason: "revoked" },
      },
    ]);
    expect((await audit(box, "key.create")).length).toBe(1);
    // What looks, and what cron does, goes on.
    expect((await run(box, ["key", "list"])).exitCode).toBe(0);
    expect((await run(box, ["snapshot", "prune", "--dry-run"])).exitCode).toBe(0);
  });

  test("does not make the file for a dry run, which is answered as if it were there", async () => {
    const box = await makeBox();
    const file = join(box.baseDir, "state/control-plane.sqlite");
    expect((await run(box, [...CREATE, "--dry-run"])).exitCode).toBe(0);
    const stranger = await makePerson(box);
    expect((await run(box, [...CREATE, "--dry-run"], stranger.env)).exitCode).toBe(3);
    expect(existsSync(file)).toBe(false);
    expect((await run(box, CREATE)).exitCode).toBe(0);
    expect(existsSync(file)).toBe(true);
  });

  test("that has lost the file asks nobody and lets nobody in; it is not made anew", async () => {
    const box = await makeBox();
    const file = join(box.baseDir, "state/control-plane.sqlite");
    await inStore(box, async () => {});
    for (const end of ["", "-wal", "-shm"]) rmSync(`${file}${end}`, { force: true });
    const { exitCode, stderr } = await run(box, CREATE);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_STATE_LOST");
    expect(existsSync(file)).toBe(false);
  });

  test("without any admin lets nobody act, and says how the first one is made", async () => {
    const box = await makeBox();
    const person = await makePerson(box);
    rmSync(join(box.baseDir, "keys/snapshot-ed25519.pem"));
    const { exitCode, stderr } = await run(box, CREATE, person.env);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("fula-master join again");
  });
});

describe("FULA_OPERATOR_KEY", () => {
  test("lets a person act in his own name, which the audit log keeps", async () => {
    const box = await makeBox();
    const person = await makePerson(box, "operator");
    expect((await run(box, CREATE, person.env)).exitCode).toBe(0);
    expect((await audit(box, "key.create")).map(({ actor }) => actor)).toEqual([`${person.id}@box-1`]);
    const deny = ["auth", "deny", "--user", "bob@example.com", "--reason", "test", "--operator", "carol"];
    expect((await run(box, deny, person.env)).exitCode).toBe(0);
    expect((await audit(box, "credential.deny")).map(({ actor }) => actor)).toEqual([`carol (by ${person.id}@box-1)`]);
  });

  test("of an operator does not do what takes an admin", async () => {
    const box = await makeBox();
    const person = await makePerson(box, "operator");
    const { exitCode, stderr } = await run(box, ["key", "rotate", "--yes"], person.env);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`fula-master membership operator role ${person.id} admin`);
    expect((await run(box, ["key", "rotate", "--yes"])).exitCode).toBe(0);
  });

  test("of nobody on record is refused, whatever the box itself may", async () => {
    const box = await makeBox();
    const person = await makePerson(box);
    const { exitCode, stderr } = await run(box, CREATE, person.env);
    expect(exitCode).toBe(3);
    expect(stderr).toContain(`fula-master membership operator add ${person.id} --role operator`);
  });

  test("that is no private ed25519 key is a usage error, and nobody acts as the box instead", async () => {
    const box = await makeBox();
    const person = await makePerson(box, "admin");
    const open = join(box.baseDir, "public.pem");
    writeFileSync(open, generateKeyPairSync("ed25519").publicKey.export({ format: "pem", type: "spki" }));
    const rsa = join(box.baseDir, "rsa.pem");
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2_048 });
    writeFileSync(rsa, privateKey.export({ format: "pem", type: "pkcs8" }));
    for (const file of [open, rsa, join(box.baseDir, "missing.pem"), box.baseDir]) {
      const { exitCode, stderr } = await run(box, CREATE, { FULA_OPERATOR_KEY: file });
      expect([file, exitCode]).toEqual([file, 2]);
      expect(stderr).toContain("FULA_OPERATOR_KEY_INVALID");
    }
    const boxKey = join(box.baseDir, "keys/snapshot-ed25519.pem");
    rmSync(boxKey);
    mkdirSync(boxKey);
    const { exitCode, stderr } = await run(box, CREATE);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("FULA_OPERATOR_KEY_INVALID")]);
    expect((await run(box, CREATE, person.env)).exitCode).toBe(0);
  });
});

describe("--without-authorization", () => {
  const UP = ["migrate", "up", "--without-authorization", "disk of the control plane died"];

  test("goes on where nobody can be asked, says so, and leaves an entry in the audit log", async () => {
    const box = await makeBox();
    await inStore(box, async () => {});
    writeFileSync(join(box.baseDir, "state/control-plane.sqlite"), "rotten".repeat(1_000));
    for (const end of ["-wal", "-shm"]) rmSync(join(box.baseDir, `state/control-plane.sqlite${end}`), { force: true });
    const refused = await run(box, ["migrate", "up"]);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toContain("FULA_CONTROL_PLANE_UNREADABLE");
    expect(refused.stderr).toContain("--without-authorization");
    const { exitCode, stderr } = await run(box, UP);
    expect([exitCode, stderr]).toEqual([0, expect.stringContaining("disk of the control plane died")]);
    expect(await audit(box, "authorization.bypass")).toMatchObject([
      {
        actor: `${await ownId(box)}@box-1`,
        target_id: "migrate up",
        details: { reason: "disk of the control plane died" },
      },
    ]);
  });

  test("takes a reason", async () => {
    const box = await makeBox();
    for (const reason of ["", "  ", "two\nlines"]) {
      const { exitCode, stderr } = await run(box, ["migrate", "up", "--without-authorization", reason]);
      expect([reason, exitCode]).toEqual([reason, 2]);
      expect(stderr).toContain("FULA_USAGE");
    }
  });

  test("opens nothing to whom the control plane says no", async () => {
    const box = await makeBox();
    const own = await ownId(box);
    await makePerson(box, "admin");
    await inStore(box, async (store) => await store.changeOperator(own, { status: "revoked" }));
    const { exitCode, stderr } = await run(box, UP);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_NOT_AUTHORIZED");
    expect(await audit(box, "authorization.bypass")).toEqual([]);
  });
});
