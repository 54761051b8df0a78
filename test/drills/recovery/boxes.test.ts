/*
 * Two masters, each a box with all its services, on networks of their own: handed over as planned under load, and cut off.
 * What clients were told was stored is there afterwards, and a master whose time is over takes no write.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { CliRun } from "../../support/cli.ts";
import { until } from "../../support/until.ts";
import { type Box, type Fleet, startBoxes } from "./boxes.ts";
import { type AccessKey, makeLoadBucket, missingObjects, WriteLoad } from "./write-load.ts";

const SETUP_MS = 600_000;
const SETTLE_MS = 180_000;
const made = new AsyncDisposableStack();
let fleet: Fleet;
let key: AccessKey;

function done(run: CliRun, what: string): CliRun {
  if (run.exitCode !== 0) throw new Error(`${what} ended with ${run.exitCode}\n${run.stdout}\n${run.stderr}`);
  return run;
}

beforeAll(async () => {
  fleet = made.use(await startBoxes());
  const [m1] = fleet.boxes;
  const { stdout } = done(await m1.run("key", "create", "--user", "drill@example.org", "--json"), "key create");
  const given: { readonly keyId: string; readonly secret: string } = JSON.parse(stdout);
  key = { accessKeyId: given.keyId, secretAccessKey: given.secret };
  await until(
    "the gateway answers",
    async () =>
      await makeLoadBucket(m1, key).then(
        () => true,
        () => false,
      ),
    SETTLE_MS,
  );
}, SETUP_MS);

afterAll(async () => {
  await made.disposeAsync();
});

interface StandbyView {
  readonly primary: string;
  readonly epoch: number;
}

/** Who has the ledger's primary, as a box sees it. */
async function primaryOn(box: Box): Promise<StandbyView> {
  const { stdout } = await once(box, "standby", "status", "--json");
  const { epoch }: { readonly epoch: { readonly number: number; readonly primary: string } } = JSON.parse(stdout);
  return { primary: epoch.primary, epoch: epoch.number };
}

/** Waits until commits wait for the standby of a box again. */
async function settled(primary: Box): Promise<void> {
  await until(
    `a standby follows ${primary.name}, and nothing would be lost with it`,
    async () => {
      const { stdout, exitCode } = await primary.run("standby", "status");
      return exitCode === 0 && stdout.includes("would lose nothing") && stdout.includes("synchronous");
    },
    SETTLE_MS,
  );
}

/** Whether the PostgreSQL of a box takes a write of the ledger's own role, over loopback. */
async function takesWrites(box: Box): Promise<boolean> {
  const script = `. /opt/fula-master/.env; PGPASSWORD="$POSTGRES_PASSWORD" PGCONNECT_TIMEOUT=3 timeout 8 /usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U pinning_user -d pinning_service -v ON_ERROR_STOP=1 -c "create table stray (id int)"`;
  return (await box.sh(script)).exitCode === 0;
}

/** Runs a command as soon as the servers of the control plane that are left have a leader. */
async function once(box: Box, ...args: readonly string[]): Promise<CliRun> {
  return await until(
    `the control plane answers ${box.name}`,
    async () => {
      const run = await box.run(...args);
      return run.exitCode === 4 && run.stderr.includes("FULA_CONTROL_PLANE_UNREACHABLE") ? null : run;
    },
    SETTLE_MS,
  );
}

/** Brings the server of a box back; of its other checks, those of daemons that are not its own may be bad here. */
async function resynced(box: Box): Promise<void> {
  const { stdout, stderr } = await once(box, "resync", "--yes", "--json");
  const { outcome }: { readonly outcome?: string } = stdout === "" ? {} : JSON.parse(stdout);
  if (outcome !== "in_sync") throw new Error(`resync of ${box.name}: ${outcome ?? "nothing"}\n${stdout}\n${stderr}`);
}

async function acknowledged(load: WriteLoad, more: number): Promise<void> {
  const before = load.count();
  await until(
    `${more} more objects were stored`,
    async () => await Promise.resolve(load.count() >= before + more),
    SETTLE_MS,
  );
}

test("a planned switchover under load loses nothing, and the old primary follows by itself", async () => {
  const [m1, m2] = fleet.boxes;
  const load = new WriteLoad([m1, m2], key, "planned");
  await acknowledged(load, 20);
  done(await m2.run("switchover", "--to", "m2", "--yes"), "switchover");
  await acknowledged(load, 20);
  const report = await load.stop();
  await expect(missingObjects(m2, key, report.acknowledged)).resolves.toEqual([]);
  await expect(primaryOn(m1)).resolves.toMatchObject({ primary: "m2", epoch: 2 });
  await settled(m2);
  await expect(takesWrites(m1)).resolves.toBe(false);
});

test("a master that is cut off cannot be proven to be fenced: the failover is refused, and once it is attested, not one write gets through on the other side", async () => {
  const [m1, m2] = fleet.boxes;
  await m2.cut();
  const refused = await once(m1, "failover", "--fence", "--yes");
  expect(refused.exitCode).toBe(3);
  expect(refused.stderr + refused.stdout).toContain("--force-fence");
  // Its own network has clients still, and a primary that waits for a standby which is gone.
  await expect(takesWrites(m2)).resolves.toBe(false);
  done(await once(m1, "failover", "--fence", "--force-fence", "--yes"), "failover --force-fence");
  await expect(takesWrites(m2)).resolves.toBe(false);
  await m2.mend();
  await until("m2 knows who is the primary", async () => (await primaryOn(m2)).primary === "m1", SETTLE_MS);
  await expect(takesWrites(m2)).resolves.toBe(false);
  await resynced(m2);
  await settled(m1);
});
