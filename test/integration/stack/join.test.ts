import { chmod, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { parseEnvFile } from "../../../src/lib/config/env-file.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { acquireLock } from "../../../src/lib/kernel/lock.ts";
import { legacyClusterSecret } from "../../../src/lib/stack/join-options.ts";
import { readInstallation, writeInstallation } from "../../../src/lib/stack/installation.ts";
import { openLedger } from "../../../src/lib/stack/ledger.ts";
import { runCliForTest } from "../../support/cli.ts";
import { treeOf } from "../../support/file-tree.ts";
import { EMBEDDED_STEPS } from "../../support/join-steps.ts";
import { makeTestBox, readBoxFile, type TestBox } from "../../support/test-box.ts";

let box: TestBox;

async function newBox(): Promise<void> {
  box = await makeTestBox();
}

async function endBox(): Promise<void> {
  await box[Symbol.asyncDispose]();
}

// Most of these are about everything but serve; test/drills has masters that run.
async function joinBox(...more: readonly string[]) {
  return await box.run([...box.joinArgs, "--no-start", ...more]);
}

async function modeOf(name: string): Promise<string> {
  return ((await stat(join(box.baseDir, name))).mode & 0o777).toString(8);
}

describe("a new box", () => {
  beforeEach(newBox);
  afterEach(endBox);

  test("becomes a master that has everything once: files closed to others, secrets, one cluster id, a snapshot", async () => {
    const { exitCode, stdout, stderr } = await joinBox("--json");
    expect(stderr).toMatch(/\+ First snapshot/);
    expect(exitCode).toBe(0);
    const { outcome, changed, summary } = JSON.parse(stdout);
    expect(outcome).toBe("joined");
    expect(changed).toEqual(EMBEDDED_STEPS.filter((id) => id !== "serve"));
    const { clusterId } = summary;
    expect((await box.load()).config).toMatchObject({
      runtime: "embedded",
      node: { clusterId },
      sweep: { replMin: 1 },
      server: { port: box.ports.server },
      gateway: { port: box.ports.gateway },
      api: { port: box.ports.api },
    });
    expect(await readInstallation(join(box.baseDir, "state"))).toMatchObject({
      clusterId,
      made: ["ledger", "pinset", "control-plane"],
    });
    expect(summary).toMatchObject({
      lastSnapshot: { sequence: 1, pinCount: 0 },
      keyId: expect.stringMatching(/^ed25519:/),
    });
    expect(summary.warnings.map(({ id }: { id: string }) => id)).toEqual(["billing-off"]);
    for (const name of [".env", "keys/snapshot-ed25519.pem", "fula-master.yaml"])
      expect(await modeOf(name)).toBe("600");
    for (const name of ["keys", "snapshots", "journal", "logs", "state/locks"]) expect(await modeOf(name)).toBe("700");
    for (const name of ["", "state"]) expect(await modeOf(name)).toMatch(/^7[01]0$/);
    const secrets = parseEnvFile(await readBoxFile(box, ".env")).assignments;
    expect(secrets.map(({ name }) => name).toSorted()).toEqual([
      "ENCRYPTION_KEY",
      "JWT_SECRET",
      "POSTGRES_PASSWORD",
      "SESSION_SECRET",
      "SYSTEM_KEY",
    ]);
    expect(new Set(secrets.map(({ value }) => value)).size).toBe(5);
    expect(await readdir(join(box.scheduleRoot, "etc/cron.d"))).toEqual([
      "fula-ledger-backup",
      "fula-pinset-snapshot",
      "fula-replication-sweep",
    ]);
    expect(`${stdout}${stderr}`).not.toContain(secrets[0]?.value);
  });

  test("a dry run shows every step and writes nothing, not even a directory", async () => {
    const before = await treeOf(box.root);
    const { exitCode, stdout } = await box.run([...box.joinArgs, "--dry-run", "--json"]);
    expect(exitCode).toBe(0);
    const { outcome, plan } = JSON.parse(stdout);
    expect(outcome).toBe("planned");
    expect(plan.steps.map(({ id }: { id: string }) => id)).toEqual(EMBEDDED_STEPS);
    expect(plan.steps.every(({ state }: { state: string }) => state === "todo")).toBe(true);
    expect(await treeOf(box.root)).toEqual(before);
  });

  test("nobody to ask and no --yes is refused before anything is written", async () => {
    const before = await treeOf(box.root);
    const { exitCode, stderr } = await box.run(box.joinArgs.filter((arg) => arg !== "--yes"));
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_CONFIRMATION_REQUIRED");
    expect(await treeOf(box.root)).toEqual(before);
  });

  test("who is asked and does not say yes gets no master", async () => {
    const before = await treeOf(box.root);
    const args = box.joinArgs.filter((arg) => arg !== "--yes");
    const { exitCode, stderr } = await box.run(args, { stdin: "n\n", terminalColumns: 120 });
    expect(stderr).toContain(`Make this box a master in ${box.baseDir}?`);
    expect(exitCode).toBe(3);
    expect(await treeOf(box.root)).toEqual(before);
  });

  test("join-as-master is the same command", async () => {
    const { exitCode, stdout } = await box.run(["join-as-master", "--runtime", "embedded", "--dry-run", "--json"]);
    expect({ exitCode, outcome: JSON.parse(stdout).outcome }).toEqual({ exitCode: 0, outcome: "planned" });
  });

  test("parents of the base directory that join makes can be passed through by PostgreSQL, whatever the umask", async () => {
    const before = process.umask(0o077);
    try {
      const run = await runCliForTest([...box.joinArgs, "--no-start"], { baseDir: join(box.root, "a", "b") });
      expect(run).toMatchObject({ exitCode: 0 });
    } finally {
      process.umask(before);
    }
    expect(((await stat(join(box.root, "a"))).mode & 0o777).toString(8)).toBe("755");
  });

  test("settings and secrets that were written beforehand are kept, and a password of the environment is saved", async () => {
    await mkdir(box.baseDir);
    await writeFile(join(box.baseDir, "fula-master.yaml"), "# mine\nsnapshot:\n  keep:\n    last: 99 # why not\n");
    await writeFile(join(box.baseDir, ".env"), "# mine too\nJWT_SECRET='a # b'\n", { mode: 0o644 });
    const { exitCode, stderr } = await box.run([...box.joinArgs, "--no-start"], {
      env: { POSTGRES_PASSWORD: "hunter2 hunter2", HOME: "/root", PATH: process.env["PATH"] },
    });
    expect(stderr).not.toContain("hunter2");
    expect(exitCode).toBe(0);
    expect(await readBoxFile(box, "fula-master.yaml")).toMatch(
      /^# mine\nsnapshot:\n {2}keep:\n {4}last: 99 # why not\n/,
    );
    expect(await readBoxFile(box, ".env")).toMatch(/^# mine too\nJWT_SECRET='a # b'\n/);
    expect(await modeOf(".env")).toBe("600");
    expect((await box.load()).secrets.postgresPassword?.reveal()).toBe("hunter2 hunter2");
  });

  test("the guessable secret of an old pool is warned of before anything is asked, and in the summary", async () => {
    const args = [...box.joinArgs, "--legacy-cluster-secret", "7", "--json"];
    const dryRun = JSON.parse((await box.run([...args, "--dry-run"])).stdout);
    expect(dryRun.preflight).toContainEqual(
      expect.objectContaining({ name: "settings", state: "warning", message: expect.stringContaining('name "7"') }),
    );
    const { stdout } = await box.run([...args, "--no-start"]);
    expect(JSON.parse(stdout).summary.warnings).toContainEqual(
      expect.objectContaining({ id: "legacy-cluster-secret" }),
    );
    expect((await box.load()).secrets.clusterSecret?.reveal()).toBe(legacyClusterSecret("7").reveal());
  });

  test("without a Docker Engine auto is embedded and says why; the docker runtime exits with 4 and says what to do", async () => {
    const env = { HOME: "/root", PATH: process.env["PATH"], DOCKER_HOST: `unix://${box.root}/no.sock` };
    const before = await treeOf(box.root);
    const docker = await box.run(["join", "--runtime", "docker", "--yes", "--skip-preflight", "root"], { env });
    expect(docker).toMatchObject({ exitCode: 4, stderr: expect.stringContaining("FULA_DOCKER_UNREACHABLE") });
    expect(docker.stderr).toContain("apt install docker.io");
    expect(await treeOf(box.root)).toEqual(before);
    const auto = await box.run(["join", "--dry-run", "--json"], { env });
    expect(JSON.parse(auto.stdout).plan).toMatchObject({
      runtime: "embedded",
      runtimeReason: "no Docker Engine answers here",
    });
  });
});

// One box for all of these: each leaves it as it was.
describe("a joined box", () => {
  beforeAll(async () => {
    await newBox();
    expect(await joinBox()).toMatchObject({ exitCode: 0 });
  });
  afterAll(endBox);

  async function without<T>(name: string, use: () => Promise<T>): Promise<T> {
    const path = join(box.baseDir, name);
    await rename(path, `${path}.away`);
    try {
      return await use();
    } finally {
      await rename(`${path}.away`, path);
    }
  }

  test("is left exactly as it is by a second join while its ledger runs", async () => {
    await using _ledger = await openLedger(await box.load(), { clock: systemClock });
    const own = ["base/state/postgres/data", "base/logs/postgres.log"];
    const before = await treeOf(box.root, own);
    const { exitCode, stdout, stderr } = await joinBox();
    expect(exitCode).toBe(0);
    expect(stdout).toContain("is a master already; nothing was changed");
    expect(stderr.match(/already so/g)).toHaveLength(EMBEDDED_STEPS.length - 1);
    expect(await treeOf(box.root, own)).toEqual(before);
  });

  test("is left exactly as it is by a dry run while everything is stopped", async () => {
    const before = await treeOf(box.root);
    expect(await box.run([...box.joinArgs, "--dry-run"])).toMatchObject({ exitCode: 0 });
    expect(await treeOf(box.root)).toEqual(before);
  });

  test("takes no second first snapshot and generates no secret again", async () => {
    const env = await readBoxFile(box, ".env");
    const snapshots = await readdir(join(box.baseDir, "snapshots"));
    const { stdout } = await joinBox("--json");
    expect(JSON.parse(stdout)).toMatchObject({ changed: [], summary: { lastSnapshot: { sequence: 1 } } });
    expect(await readBoxFile(box, ".env")).toBe(env);
    expect(await readdir(join(box.baseDir, "snapshots"))).toEqual(snapshots);
  });

  test("changes one setting where one option is new, and nothing else", async () => {
    const vault = `0x${"ab".repeat(20)}`;
    const { stdout } = await joinBox("--json", "--vault-address", vault);
    expect(JSON.parse(stdout)).toMatchObject({ changed: ["settings"], summary: { warnings: [] } });
    expect((await box.load()).config.billing.vaultAddress).toBe(vault);
    expect(JSON.parse((await joinBox("--json")).stdout)).toMatchObject({ changed: [] });
  });

  test("keeps PostgreSQL off a port that the gateway shall have, though nobody listens there yet", async () => {
    const remembered = (await readBoxFile(box, "state/postgres/port")).trim();
    expect(await joinBox("--gateway-port", remembered)).toMatchObject({ exitCode: 0 });
    expect((await readBoxFile(box, "state/postgres/port")).trim()).not.toBe(remembered);
    expect(await joinBox()).toMatchObject({ exitCode: 0 });
  });

  test("a lost pinset is refused, and no empty one takes its place", async () => {
    const { exitCode, stderr } = await without("state/pins.sqlite", async () => await joinBox());
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/FULA_STATE_LOST[^]*pins\.sqlite[^]*fula-master restore/);
  });

  test("a lost ledger is refused, and no empty one takes its place", async () => {
    const { exitCode, stderr } = await without("state/postgres", async () => await joinBox());
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(/FULA_STATE_LOST[^]*backup/);
  });

  test("lost settings are written again with the same cluster id", async () => {
    const { clusterId } = (await box.load()).config.node;
    await rm(join(box.baseDir, "fula-master.yaml"));
    expect(await joinBox()).toMatchObject({ exitCode: 0 });
    expect((await box.load()).config.node.clusterId).toBe(clusterId);
  });

  test("a ledger cannot be moved to another server by an option", async () => {
    const { exitCode, stderr } = await box.run([
      "join",
      "--yes",
      "--postgres-url",
      "postgres://u:secret@127.0.0.1:1/x",
    ]);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_JOIN_CONFLICT");
    expect(stderr).not.toContain("secret");
  });

  test("what a newer fula-master changed is refused", async () => {
    const stateDir = join(box.baseDir, "state");
    const installation = await readInstallation(stateDir);
    if (installation === null) throw new Error("not joined");
    await writeInstallation(stateDir, { ...installation, changedBy: "999.0.0" });
    const { exitCode, stderr } = await joinBox();
    await writeInstallation(stateDir, installation);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_STATE_NEWER");
  });

  test("permissions that were opened are closed again", async () => {
    await chmod(join(box.baseDir, ".env"), 0o644);
    await chmod(join(box.baseDir, "keys"), 0o755);
    const { stderr } = await joinBox();
    expect(stderr).toMatch(/permissions: Others on this machine can look into .*\.env/);
    expect([await modeOf(".env"), await modeOf("keys")]).toEqual(["600", "700"]);
  });

  test("a clock that went back behind a snapshot is refused", async () => {
    const future = new Date(Date.now() + 3_600_000);
    const [snapshot = ""] = await readdir(join(box.baseDir, "snapshots"));
    const path = join(box.baseDir, "snapshots", snapshot);
    const { atime, mtime } = await stat(path);
    await utimes(path, future, future);
    const { exitCode, stderr } = await joinBox();
    await utimes(path, atime, mtime);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_CLOCK_WRONG");
  });

  test("another master of this box does not take over its schedules", async () => {
    const cron = join(box.scheduleRoot, "etc/cron.d/fula-pinset-snapshot");
    const before = await readFile(cron, "utf8");
    const args = [...box.joinArgs, "--no-start", "--json"];
    const other = await runCliForTest(args, { baseDir: join(box.root, "other") });
    expect(other.exitCode).toBe(0);
    expect(await readFile(cron, "utf8")).toBe(before);
    expect(JSON.parse(other.stdout).summary.schedules).toMatchObject([
      { state: "other-master" },
      { state: "other-master" },
      { state: "other-master" },
    ]);
  });
});

describe("bad input", () => {
  beforeEach(newBox);
  afterEach(endBox);

  test("of two joins at once the second is refused, naming the first by its pid", async () => {
    using _lock = await acquireLock(join(box.baseDir, "state/locks/join.lock"), "join", systemClock);
    const { exitCode, stderr } = await joinBox();
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(new RegExp(`FULA_LOCKED.*process ${process.pid} \\(join`));
  });

  test("two joins that start together make one master", async () => {
    const runs = await Promise.all([joinBox(), joinBox()]);
    expect(runs.map(({ exitCode }) => exitCode)).toEqual(expect.arrayContaining([0, 3]));
    expect(runs.find(({ exitCode }) => exitCode === 3)?.stderr).toContain("FULA_LOCKED");
    expect(JSON.parse((await joinBox("--json")).stdout)).toMatchObject({
      changed: [],
      summary: { lastSnapshot: { sequence: 1 } },
    });
  });

  test("a port in use is refused with the process that has it", async () => {
    for (const port of [box.ports.api, box.ports.gateway]) {
      const server = createServer();
      await new Promise<void>((resolve) => {
        server.listen(port, "127.0.0.1", resolve);
      });
      try {
        const before = await treeOf(box.root);
        const { exitCode, stderr } = await joinBox();
        expect(exitCode).toBe(3);
        expect(stderr).toMatch(new RegExp(`FULA_PORT_IN_USE: Port 127.0.0.1:${port} .*process ${process.pid}`));
        expect(await treeOf(box.root)).toEqual(before);
        if (port === box.ports.gateway)
          expect(await joinBox("--skip-preflight", "ports")).toMatchObject({ exitCode: 0 });
      } finally {
        server.close();
      }
    }
  });

  test("settings that were cut off in the middle are refused, with the line, and stay as they are", async () => {
    await mkdir(box.baseDir);
    await writeFile(join(box.baseDir, "fula-master.yaml"), "node:\n  name: fula-1\ngateway:\n  por");
    const before = await treeOf(box.root);
    const { exitCode, stderr } = await joinBox();
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/FULA_CONFIG_\w+.*fula-master\.yaml/);
    expect(await treeOf(box.root)).toEqual(before);
  });

  test("a file in the place of a directory of ours is refused by name", async () => {
    await mkdir(box.baseDir);
    await writeFile(join(box.baseDir, "snapshots"), "");
    const { exitCode, stderr } = await joinBox();
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/FULA_PATH_NOT_WRITABLE: Cannot write .*snapshots: it is not a directory/);
  });

  test("everything that is wrong is said at once", async () => {
    await mkdir(box.baseDir);
    await writeFile(join(box.baseDir, "fula-master.yaml"), "gatway: {}\n");
    await writeFile(join(box.baseDir, "holiday.jpg"), "");
    const { exitCode, stderr } = await joinBox();
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(
      /FULA_PREFLIGHT_FAILED[^]*2 checks failed[^]*FULA_BASE_DIR_FOREIGN[^]*FULA_CONFIG_UNKNOWN_KEY/,
    );
  });

  test("an unknown check to leave out is a usage error", async () => {
    expect(await joinBox("--skip-preflight", "prots")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("--skip-preflight ports"),
    });
  });
});

describe("a run that ended early", () => {
  beforeEach(newBox);
  afterEach(endBox);

  test("says what was done before the step that failed, and the next run goes on with it", async () => {
    await mkdir(join(box.baseDir, "state"), { recursive: true });
    await writeFile(join(box.baseDir, "state/pins.sqlite"), "this is no pinset".repeat(1_000));
    const failed = await joinBox("--skip-preflight", "contents");
    expect(failed.exitCode).toBe(4);
    expect(failed.stderr).toMatch(
      /FULA_PINSET_\w+: [^]*join failed at the step "stores"\. Done before it: directories, [^]*postgres, migrations\./,
    );
    const before = [await readBoxFile(box, ".env"), await readBoxFile(box, "fula-master.yaml")];
    await rm(join(box.baseDir, "state/pins.sqlite"));
    const resumed = await joinBox();
    expect(resumed.stderr).toMatch(/Resuming the run of \S+Z that stopped at the step "stores"\./);
    expect(resumed).toMatchObject({ exitCode: 0 });
    expect([await readBoxFile(box, ".env"), await readBoxFile(box, "fula-master.yaml")]).toEqual(before);
  });

  test("Ctrl-C ends it with 130, and the next run says where it goes on", async () => {
    const controller = new AbortController();
    const running = box.run([...box.joinArgs, "--no-start"], { signal: controller.signal });
    const journal = join(box.baseDir, "journal");
    await expect
      .poll(async () => await readJournals(journal), { timeout: 60_000, interval: 5 })
      .toContain('"step.started","step":"postgres"');
    controller.abort();
    const { exitCode, stderr } = await running;
    expect(exitCode).toBe(130);
    expect(stderr).toMatch(/FULA_INTERRUPTED: join was stopped at the step/);
    const secrets = await readBoxFile(box, ".env");
    const resumed = await joinBox();
    expect(resumed.stderr).toMatch(/Resuming the run of \S+Z that stopped (at|before) the step "/);
    expect(resumed.exitCode).toBe(0);
    expect(await readBoxFile(box, ".env")).toBe(secrets);
  });
});

async function readJournals(dir: string): Promise<string> {
  const names = await readdir(dir).catch(() => []);
  const texts = await Promise.all(names.map(async (name) => await readFile(join(dir, name), "utf8")));
  return texts.join("");
}
