/*
 * Three masters, each a box with all its services, on a network of their own: handed over as planned under load, cut off, killed,
 * frozen, and lost but for one, by the commands of the handbook's page. What clients were told was stored is there afterwards,
 * and a master whose time is over takes no write. Each test goes on with what the one before it left.
 */
import { afterAll, beforeAll, beforeEach, expect, onTestFailed, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { type CliRun, expectDone, isWell } from "../../support/cli.ts";
import { settled, until } from "../../support/until.ts";
import { type Box, type Fleet, startBoxes } from "./boxes.ts";
import {
  expectEachHourOnce,
  expectIntact,
  expectNothingHeld,
  knows,
  openHours,
  primaryOn,
  standbysFollow,
  takesWrites,
} from "./fleet-checks.ts";
import { once, Runbook, SETTLE_MS } from "./runbook.ts";
import { type AccessKey, makeLoadBucket, missingObjects, WriteLoad } from "./write-load.ts";

const SETUP_MS = 900_000;
const IS_SOAK = process.env["SOAK"] === "1";
const LONG_MS = 900_000;
/** How long a frozen master stays so, beside what a failover takes: as long as agents were frozen that lost writes elsewhere. */
const FROZEN_MS = 45_000;
/** Rest between the objects of a client that stores for as long as that. */
const PACE_MS = 200;
const WRITES = 20;
const FENCED = "/opt/fenced";
const FLIPPED = "/opt/flipped";

const made = new AsyncDisposableStack();
const page = new Runbook("failover.md");
let fleet: Fleet;
let key: AccessKey;
let hasFailed = false;

beforeAll(async () => {
  fleet = made.use(await startBoxes());
  const [m1] = fleet.boxes;
  await standbysFollow(m1, 2);
  const { stdout } = expectDone(await once(m1, "fula-master key create --user drill@example.org --json"), "key create");
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

beforeEach(() => {
  if (hasFailed) throw new Error("A drill before this one failed: what it left is nothing to go on with");
});

afterAll(async () => {
  await made.disposeAsync();
});

/** Shows what the masters said where a test fails. */
function tellLogs(): void {
  onTestFailed(async () => {
    hasFailed = true;
    for (const box of fleet.boxes) {
      process.stderr.write(`\n==> ${box.name}\n${await box.log().catch((error: unknown) => String(error))}\n`);
    }
  });
}

async function acknowledged(load: WriteLoad): Promise<void> {
  const before = load.count();
  await until(
    `${WRITES} more objects were stored`,
    async () => await Promise.resolve(load.count() >= before + WRITES),
    SETTLE_MS,
  );
}

/** Ends the load, and waits until a box gives everything which clients were told was stored: Kubo nodes may have to meet again. */
async function expectAllThere(load: WriteLoad, box: Box): Promise<void> {
  let missing = await load.stop();
  await until(
    `${box.name} has all that was acknowledged`,
    async () => {
      missing = await missingObjects(box, key, missing);
      return missing.length === 0;
    },
    SETTLE_MS,
  );
}

/** Waits until every peer is there, and holds what it is to hold. */
async function swept(box: Box): Promise<void> {
  await until(
    `${box.name} finds every pin held`,
    async () => (await box.sh("fula-master sweep --strict")).exitCode === 0,
    SETTLE_MS,
  );
}

/** Brings the server of a box back; of its other checks, those of daemons that are not its own may be bad here. */
async function resynced(box: Box): Promise<void> {
  const { stdout, stderr } = await once(box, `${page.line("fula-master resync")} --json`);
  const { outcome }: { readonly outcome?: string } = stdout === "" ? {} : JSON.parse(stdout);
  if (outcome !== "in_sync") throw new Error(`resync of ${box.name}: ${outcome ?? "nothing"}\n${stdout}\n${stderr}`);
}

/** Carries out what the page has for a master that came back, until all is as before. */
async function bringBack(box: Box, primary: Box): Promise<void> {
  expectDone(await page.type(box, "fula-master resync --dry-run --explain"), `resync --dry-run on ${box.name}`);
  expectDone(await page.type(box, "fula-master resync"), `resync on ${box.name}`);
  await standbysFollow(primary, 2);
  await swept(box);
  for (const command of [
    "fula-master standby status",
    "fula-master status",
    "fula-master billing verify",
    "fula-master sweep --strict",
  ]) {
    await succeeds(box, page.line(command));
  }
}

/** Types a command until it says that all is well: a daemon of a box that came back may be busy for a moment. */
async function succeeds(box: Box, command: string): Promise<void> {
  const run = await settled(async () => await once(box, command), isWell, SETTLE_MS);
  expectDone(run, `${command} on ${box.name}`);
}

async function writesAgain(box: Box): Promise<void> {
  await until(`${box.name} takes writes`, async () => await takesWrites(box), SETTLE_MS);
}

/** Has a program of PostgreSQL's wait on a box whenever it is to work on data. */
async function holdProgram(box: Box, name: string): Promise<void> {
  const path = `/usr/lib/postgresql/15/bin/${name}`;
  const script = `#!/bin/sh
case " $* " in *" -D "*)
  touch /tmp/${name}.held
  while [ -e /tmp/${name}.hold ]; do sleep 0.1; done ;;
esac
exec ${path}.real "$@"`;
  expectDone(
    await box.sh(
      `touch /tmp/${name}.hold; mv ${path} ${path}.real; cat >${path} <<'END'\n${script}\nEND\nchmod 755 ${path}`,
    ),
    `a hold on ${name}`,
  );
}

/** Has a box call a command that notes what it is told. */
async function setHook(box: Box, setting: string, file: string, words: string): Promise<void> {
  const script = `printf '#!/bin/sh\\necho "${words}" >>${file}\\n' >${file}.sh && chmod 755 ${file}.sh`;
  expectDone(await box.sh(`${script} && fula-master config set ${setting} ${file}.sh`), setting);
}

/** Two operators type the same at the same moment on two boxes. @returns what became of it, what was done first */
async function race(first: Box, second: Box, command: string): Promise<readonly [CliRun, CliRun]> {
  const [one, other] = await Promise.all([once(first, command), once(second, command)]);
  return one.exitCode === 0 ? [one, other] : [other, one];
}

test(
  "a planned switchover under load loses nothing, and the old primary follows by itself",
  async () => {
    tellLogs();
    const [m1, m2] = fleet.boxes;
    const to = { "fula-2": "m2" };
    const load = new WriteLoad([m1, m2], key, "planned");
    await acknowledged(load);
    expectDone(await page.type(m2, "fula-master switchover --to fula-2 --dry-run", to), "switchover --dry-run");
    await knows(m2, { primary: "m1", epoch: 1 });
    expectDone(await page.type(m2, "fula-master switchover --to fula-2", to), "switchover");
    await acknowledged(load);
    await expectAllThere(load, m2);
    await knows(m1, { primary: "m2", epoch: 2 });
    await standbysFollow(m2, 2);
    await writesAgain(m2);
    await expect(takesWrites(m1)).resolves.toBe(false);
    await expectIntact(m2, fleet.boxes);
  },
  LONG_MS,
);

test(
  "a master that is cut off cannot be proven to be fenced: the failover is refused, and once it is attested, not one write gets through on the other side",
  async () => {
    tellLogs();
    const [m1, m2] = fleet.boxes;
    // What clients stored through m2 a moment ago has its copies on the others by now.
    await swept(m1);
    await m2.cut();
    const beyond = new WriteLoad([m2], key, "beyond");
    await page.type(m1, "fula-master standby status");
    const plan = await page.type(m1, "fula-master failover");
    expect(plan).toMatchObject({ exitCode: 3, stdout: expect.stringContaining("cannot be proven") });
    const refused = await page.type(m1, "fula-master failover --fence");
    expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("--force-fence") });
    expect((await page.type(m1, "fula-master failover status")).exitCode).toBe(0);
    // Its own network has clients still, and a primary that waits for standbys which are gone.
    await expect(takesWrites(m2)).resolves.toBe(false);
    const forced = page.line("fula-master failover --fence --force-fence");
    expectDone(await once(m1, `${forced} --to m1`), "failover --force-fence");
    await expect(takesWrites(m2)).resolves.toBe(false);
    await m2.mend();
    await until("m2 knows who is the primary", async () => (await primaryOn(m2)).primary === "m1", SETTLE_MS);
    await expect(takesWrites(m2)).resolves.toBe(false);
    await expectAllThere(beyond, m1);
    if (!IS_SOAK) {
      await resynced(m2);
      await standbysFollow(m1, 2);
    }
  },
  LONG_MS,
);

// What follows takes minutes, and waits for elections: too long for every commit.
if (IS_SOAK) {
  test(
    "a resync during which the primary is changed stops, lets everything go, and is done when it is run again",
    async () => {
      tellLogs();
      const [m1, m2, m3] = fleet.boxes;
      await standbysFollow(m1, 1, m2);
      // Its peers are back before anything else is asked whether all is well.
      await swept(m1);
      await holdProgram(m2, "pg_rewind");
      const command = page.line("fula-master resync");
      const running = once(m2, command);
      await until(
        "m2 is being rewound",
        async () => (await m2.sh("test -e /tmp/pg_rewind.held")).exitCode === 0,
        SETTLE_MS,
      );
      expectDone(
        await once(m3, page.line("fula-master switchover --to fula-2", { "fula-2": "m3" })),
        "switchover to m3",
      );
      const stopped = await running;
      expect(stopped.stderr).toContain("FULA_RESYNC_SUPERSEDED");
      expect(stopped.exitCode).not.toBe(0);
      // The pattern is none that it matches itself.
      expect((await m2.sh("grep -ls '[p]g_rewind' /proc/[0-9]*/cmdline")).stdout).toBe("");
      await m2.sh("rm /tmp/pg_rewind.hold");
      await bringBack(m2, m3);
      await knows(m2, { primary: "m3", epoch: 4 });
      await expectIntact(m3, fleet.boxes);
    },
    LONG_MS,
  );

  test(
    "a primary's box that is killed is replaced by one of two operators who try at once; nothing acknowledged is lost, each hour is billed once, and it comes back without a write",
    async () => {
      tellLogs();
      const [m1, m2, m3] = fleet.boxes;
      for (const box of [m1, m2]) {
        await setHook(box, "failover.fenceCommand", FENCED, "$FULA_OLD_MASTER");
        await setHook(box, "failover.flipCommand", FLIPPED, "$FULA_OLD_MASTER $FULA_NEW_MASTER");
      }
      const load = new WriteLoad([m1], key, "killed");
      await acknowledged(load);
      await openHours(m3);
      await m3.kill();
      // The hook says that the box is off, as that of a provider does.
      const command = `${page.line("fula-master failover --fence")} --to m1`;
      const [won, lost] = await race(m1, m2, command);
      expectDone(won, "failover --fence");
      expect([2, 3]).toContain(lost.exitCode);
      expect(lost.stderr).toMatch(/FULA_FAILOVER_RUNNING|is the primary already/);
      await knows(m2, { primary: "m1", epoch: 5 });
      const said = async (file: string): Promise<string> =>
        (await Promise.all([m1, m2].map(async (box) => await box.sh(`cat ${file}`))))
          .map(({ stdout }) => stdout)
          .join("");
      expect(await said(FENCED)).toBe("m3\n");
      expect(await said(FLIPPED)).toBe("m3 m1\n");
      await acknowledged(load);
      await expectAllThere(load, m2);
      await m3.boot();
      await until("m3 knows who is the primary", async () => (await primaryOn(m3)).primary === "m1", SETTLE_MS);
      await expect(takesWrites(m3)).resolves.toBe(false);
      await bringBack(m3, m1);
      await expectEachHourOnce(m1);
      await expectIntact(m1, fleet.boxes);
    },
    LONG_MS,
  );

  test(
    "a primary's box that is frozen and wakes after it was replaced has acknowledged nothing that is not there",
    async () => {
      tellLogs();
      const [m1, m2] = fleet.boxes;
      for (const box of [m1, m2]) {
        expectDone(await box.sh("fula-master config unset failover.fenceCommand"), "no hook");
      }
      const load = new WriteLoad([m2], key, "frozen", PACE_MS);
      await acknowledged(load);
      await m1.freeze();
      const woken = new WriteLoad([m1], key, "woken");
      const forced = page.line("fula-master failover --fence --force-fence");
      expectDone(await once(m2, `${forced} --to m2`), "failover --force-fence");
      await systemClock.sleep(FROZEN_MS);
      await m1.thaw();
      await expect(takesWrites(m1)).resolves.toBe(false);
      await acknowledged(load);
      await acknowledged(woken);
      await expectAllThere(load, m2);
      await expectAllThere(woken, m2);
      await bringBack(m1, m2);
      await expectEachHourOnce(m2);
      await expectIntact(m2, fleet.boxes);
    },
    LONG_MS,
  );

  test(
    "a failover that nobody was promoted by is given up, and the old primary has its right back",
    async () => {
      tellLogs();
      const [m1, m2, m3] = fleet.boxes;
      const { epoch } = await primaryOn(m1);
      // One of two standbys cannot say that it has detached.
      await m3.sh("kill -STOP $(cat /run/fula-master.pid)");
      await m1.sh(`(${page.line("fula-master failover --fence")} >/dev/null 2>&1 & echo $! >/tmp/failover.pid)`);
      await until(
        "the failover waits for it",
        async () => {
          const { stdout } = await once(m1, "fula-master failover status --json");
          return JSON.parse(stdout).next?.action === "awaitAttestations";
        },
        SETTLE_MS,
      );
      await m1.sh("kill -9 $(cat /tmp/failover.pid)");
      expectDone(await page.type(m1, "fula-master failover abort"), "failover abort");
      await m3.sh("kill -CONT $(cat /run/fula-master.pid)");
      await knows(m3, { primary: "m2", epoch: epoch + 2 });
      await standbysFollow(m2, 2);
      await writesAgain(m2);
      await expectIntact(m2, fleet.boxes);
    },
    LONG_MS,
  );

  // Last: nobody brings the others back.
  test(
    "the last of three masters goes on alone, with the control plane, once an operator says that the others are gone",
    async () => {
      tellLogs();
      const [m1, m2, m3] = fleet.boxes;
      await swept(m2);
      const { epoch } = await primaryOn(m1);
      await Promise.all([m2.kill(), m3.kill()]);
      expect(await m1.sh(page.line("fula-master failover"))).toMatchObject({ exitCode: 4 });
      const asked = await m1.sh(page.line("fula-master failover --fence --force-fence"));
      expect(asked).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("--without-authorization") });
      // The control plane goes on; but what the lost standby has acknowledged, this one need not have.
      const reason = 'fula-master failover --fence --force-fence --without-authorization "ticket number"';
      // It is the one that brings the control plane back: not to be typed again until it does.
      const refused = await m1.sh(page.line(reason));
      expect(refused).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("--allow-data-loss") });
      const plan = await page.type(m1, "fula-master failover");
      const [, position = ""] = /m1 has the log up to ([0-9A-F]+\/[0-9A-F]+)/.exec(plan.stdout) ?? [];
      const agreed = page.line("fula-master failover --fence --allow-data-loss 16/B374D848", {
        "16/B374D848": position,
      });
      // What was stored while m1 was frozen had its copies on the two that are lost.
      const stopped = await once(m1, `${agreed} --force-fence`);
      const [, missing = ""] = /--allow-missing (\d+)/.exec(stopped.stderr) ?? [];
      expect(stopped).toMatchObject({ exitCode: 3, stderr: expect.stringContaining("On no box that answers") });
      expectDone(await once(m1, `${agreed} --force-fence --allow-missing ${missing}`), "failover --allow-missing");
      await knows(m1, { primary: "m1", epoch: epoch + 1 });
      await writesAgain(m1);
      expectDone(await once(m1, "fula-master billing verify"), "billing verify");
      await expectNothingHeld(m1);
      expect(page.untyped).toEqual([]);
    },
    LONG_MS,
  );
}
