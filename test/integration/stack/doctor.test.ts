import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { updateSettingsFile } from "../../../src/lib/config/settings-file.ts";
import type { DoctorReport, DoctorResult } from "../../../src/lib/stack/doctor.ts";
import { treeOf } from "../../support/file-tree.ts";
import { makeTestBox, type TestBox } from "../../support/test-box.ts";

let box: TestBox;

beforeAll(async () => {
  box = await makeTestBox();
  // A cron that runs, as far as anybody can see.
  await mkdir(join(box.scheduleRoot, "proc/1"), { recursive: true });
  await writeFile(join(box.scheduleRoot, "proc/1/comm"), "cron\n");
  const joined = await box.run(box.joinArgs);
  expect(joined.exitCode, joined.stderr).toBe(0);
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

async function doctor(...args: readonly string[]): Promise<{ exitCode: number; report: DoctorReport }> {
  const run = await box.run(["doctor", "--json", "--schedule-root", box.scheduleRoot, ...args]);
  expect(run.stdout, run.stderr).not.toBe("");
  return { exitCode: run.exitCode, report: JSON.parse(run.stdout) };
}

async function only(name: string): Promise<{ exitCode: number; checks: readonly DoctorResult[] }> {
  const { exitCode, report } = await doctor("--only", name);
  return { exitCode, checks: report.checks };
}

/** Has something be wrong for the time of one look. */
async function replaced<T>(name: string, content: string | null, use: () => Promise<T>): Promise<T> {
  const path = join(box.baseDir, name);
  await rename(path, `${path}.away`);
  try {
    if (content !== null) await writeFile(path, content, { mode: 0o600 });
    return await use();
  } finally {
    await rm(path, { force: true });
    await rename(`${path}.away`, path);
  }
}

describe("a master that serves", () => {
  test("passes every check that makes sense on it, each with what was looked at", async () => {
    const { exitCode, report } = await doctor();
    expect(report.checks.filter(({ verdict }) => verdict === "failed")).toEqual([]);
    expect(exitCode).toBe(0);
    expect(report.healthy).toBe(true);
    const names = new Set(report.checks.map(({ name }) => name));
    for (const name of [
      "settings",
      "exposure",
      "ledger",
      "schema",
      "ledger-rights",
      "control-plane",
      "membership",
      "round-trip",
      "snapshot",
      "schedules",
    ])
      expect(names).toContain(name);
    for (const name of ["kubo", "cluster", "containers", "storage", "nats-servers"]) expect(names).not.toContain(name);
    for (const { message } of report.checks) expect(message).not.toBe("");
    expect(report.counts.ok).toBe(report.checks.filter(({ verdict }) => verdict === "ok").length);
  });

  test("has the same files afterwards, and the same pins", async () => {
    // What PostgreSQL and serve themselves write at any time.
    const own = ["base/state/postgres", "base/logs", "base/state/locks", "base/state/blocks"];
    // What those who have it open tell one another.
    const shared = "base/state/control-plane.sqlite-shm";
    const files = async (): Promise<readonly string[]> =>
      // The pinset's own log has the pin that was made and taken away again.
      (await treeOf(box.root, [...own, shared])).filter((line) => !/pins\.sqlite-(?:wal|shm) /.test(line));
    const before = await files();
    const pins = await box.run(["pin", "ls", "--json"]);
    await doctor();
    expect(await files()).toEqual(before);
    expect((await box.run(["pin", "ls", "--json"])).stdout).toBe(pins.stdout);
  });

  test("tells on one screen what is wrong and what to do", async () => {
    await chmod(join(box.baseDir, ".env"), 0o644);
    const { exitCode, stdout } = await box.run(["doctor", "--schedule-root", box.scheduleRoot, "--skip", "snapshot"]);
    await chmod(join(box.baseDir, ".env"), 0o600);
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/BAD +settings +.*\.env holds secrets[^]*Try: chmod 600/);
    expect(stdout).toMatch(/- +snapshot +left out by --skip/);
    expect(stdout).toMatch(/1 check failed, .*1 left out, \d+ ok\.\n$/);
  });

  test("is told everything that is wrong at once", async () => {
    const privateKey = join(box.baseDir, "keys/snapshot-ed25519.pem");
    await chmod(privateKey, 0o640);
    const { exitCode, report } = await replaced("keys/snapshot-ed25519.pub.pem", null, doctor).finally(async () => {
      await chmod(privateKey, 0o600);
    });
    expect(exitCode).toBe(1);
    const failures = report.checks.filter(({ verdict }) => verdict === "failed");
    expect(failures.map(({ name }) => name)).toEqual(["settings", "signing-key", "signing-key"]);
    for (const { remedy, code } of failures) {
      expect(remedy).not.toBeNull();
      expect(code).toMatch(/^FULA_/);
    }
  });

  test("with settings that cannot be read gets that told, and nothing else concluded", async () => {
    const { exitCode, report } = await replaced("fula-master.yaml", "runtime: [\n", doctor);
    expect(exitCode).toBe(1);
    expect(report.checks.find(({ name, verdict }) => name === "settings" && verdict === "failed")?.code).toBe(
      "FULA_CONFIG_SYNTAX",
    );
    expect(report.checks.find(({ name }) => name === "round-trip")).toMatchObject({
      verdict: "skipped",
      message: "not looked at before the settings are right",
    });
  });

  test("with a control plane that is open to others or gone, or with other secrets than it has, is told so", async () => {
    const file = "state/control-plane.sqlite";
    await chmod(join(box.baseDir, file), 0o644);
    const open = await only("control-plane");
    await chmod(join(box.baseDir, file), 0o600);
    expect(open.checks).toMatchObject([{ verdict: "failed", remedy: `chmod 600 ${join(box.baseDir, file)}` }]);
    const gone = await replaced(file, null, async () => await only("control-plane"));
    expect(gone.checks).toMatchObject([{ verdict: "failed", code: "FULA_STATE_LOST" }]);
    const env = await readFile(join(box.baseDir, ".env"), "utf8");
    const other = env.replace(/^JWT_SECRET=.*$/m, `JWT_SECRET=${"a".repeat(64)}`);
    const differs = await replaced(".env", other, async () => await only("membership"));
    expect(differs.checks).toMatchObject([{ verdict: "failed", remedy: expect.stringMatching(/membership sync/) }]);
    expect(differs.checks[0]?.message).not.toContain("a".repeat(64));
    expect((await doctor("--only", "control-plane,membership")).exitCode).toBe(0);
  });

  test("with a snapshot that was changed fails the snapshot, by its digest", async () => {
    const name = (await readFile(join(box.baseDir, "state/snapshot-last.json"), "utf8")).match(
      /"time": "([^"]+)"/,
    )?.[1];
    const file = `snapshots/pinset-${name?.replaceAll(/[-:]/g, "").replace(/\.\d+/, "")}.jsonl.zst`;
    const bytes = await readFile(join(box.baseDir, file));
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    const path = join(box.baseDir, file);
    const good = await readFile(path);
    await writeFile(path, bytes);
    const { exitCode, checks } = await only("snapshot");
    await writeFile(path, good);
    expect(exitCode).toBe(1);
    expect(checks).toMatchObject([{ verdict: "failed", message: expect.stringContaining("does not verify") }]);
    expect((await only("snapshot")).exitCode).toBe(0);
  });

  test("with a service that takes connections from elsewhere is told which port on which address", async () => {
    const server = createServer().listen(0, "0.0.0.0");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    if (typeof address !== "object" || address === null) throw new Error("no port");
    const settings = join(box.baseDir, "fula-master.yaml");
    const text = await readFile(settings, "utf8");
    await updateSettingsFile(settings, {
      "blocks.mode": "kubo",
      "blocks.kuboApi": `/ip4/127.0.0.1/tcp/${address.port}`,
    });
    try {
      const { exitCode, checks } = await only("exposure");
      expect(exitCode).toBe(1);
      expect(checks.find(({ verdict }) => verdict === "failed")?.message).toMatch(
        new RegExp(`Port ${address.port} of Kubo's RPC API takes connections on \\S+`),
      );
    } finally {
      await writeFile(settings, text, { mode: 0o600 });
      server.close();
    }
  });

  test("with an alert command that is not there is told so before the first alert", async () => {
    const { exitCode, checks } = await box
      .run(["doctor", "--json", "--only", "alert-command"], {
        env: { PATH: process.env["PATH"], FULA_MASTER_SWEEP_ALERT_COMMAND: "no-such-program --now" },
      })
      .then(({ exitCode: code, stdout }) => ({ exitCode: code, checks: JSON.parse(stdout).checks }));
    expect(exitCode).toBe(1);
    expect(checks).toMatchObject([{ verdict: "failed", message: expect.stringContaining("no-such-program") }]);
  });

  test("a check that does not exist is refused with the nearest one, and so is to look at nothing", async () => {
    const typo = await box.run(["doctor", "--only", "snapshots"]);
    expect(typo.exitCode).toBe(2);
    expect(typo.stderr).toContain("--only snapshot;");
    const nothing = await box.run(["doctor", "--only", "snapshot", "--skip", "snapshot"]);
    expect(nothing.exitCode).toBe(2);
    expect((await box.run(["doctor", "--only", "kubo"])).exitCode).toBe(2);
  });
});

test("a box that never joined is told how to", async () => {
  await using empty = await makeTestBox();
  const { exitCode, stderr } = await empty.run(["doctor"]);
  expect(exitCode).toBe(1);
  expect(stderr).toContain("FULA_NOT_JOINED");
});
