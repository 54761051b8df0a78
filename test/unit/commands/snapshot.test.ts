import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { acquireLock } from "../../../src/lib/kernel/lock.ts";
import { filesOf } from "../../../src/lib/pinset/format.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { treeOf } from "../../support/file-tree.ts";
import { makePinsetBox, type PinsetBox } from "../../support/pinset-box.ts";

async function fula(box: PinsetBox, ...argv: readonly string[]): Promise<CliRun> {
  return runCliForTest(argv, { baseDir: box.baseDir });
}

async function json(box: PinsetBox, ...argv: readonly string[]): Promise<unknown> {
  return JSON.parse((await fula(box, ...argv, "--json")).stdout);
}

async function unpinAll(box: PinsetBox): Promise<void> {
  for (const { cid } of await box.pins()) await box.withPins(async (cluster) => cluster.remove(cid));
}

describe("snapshot", () => {
  test("takes one, says so, and the next commands find it good", async () => {
    const box = await makePinsetBox(5);
    const taken = await fula(box, "snapshot");
    expect(taken).toMatchObject({ exitCode: 0, stderr: "" });
    expect(taken.stdout).toMatch(
      /^Snapshot 1: 5 pins, .* taken in .*\.\n {2}file {4}\/.*pinset-\d{8}T\d{6}Z\.jsonl\.zst\n {2}sha256 {2}[0-9a-f]{64} /,
    );
    const verified = await fula(box, "verify");
    expect(verified.exitCode).toBe(0);
    expect(verified.stdout).toMatch(/^pinset-\d{8}T\d{6}Z: good\n[^]*pins {6}5\n/);
    const listed = await fula(box, "snapshot", "list");
    expect(listed.stdout).toMatch(
      /NAME +AGE +SEQUENCE +PINS +SIZE +STATE +KEPT BECAUSE\npinset-\S+ +\S+ +1 +5 +\S+ B +good +last, daily, weekly, monthly, last good\n/,
    );
  });

  test("gives stable JSON", async () => {
    const box = await makePinsetBox(5);
    const report = await json(box, "snapshot");
    expect(Object.keys(Object(report)).toSorted()).toEqual(
      [
        "bytes",
        "clusterId",
        "durationMs",
        "file",
        "keyId",
        "manifestFile",
        "pinCount",
        "previousManifestSha256",
        "pruned",
        "sequence",
        "sha256",
        "streamBytes",
        "time",
        "warnings",
      ].toSorted(),
    );
    expect(report).toMatchObject({ sequence: 1, pinCount: 5, clusterId: box.clusterId });
    expect(await json(box, "snapshot", "list")).toMatchObject({
      snapshots: [{ sequence: 1, good: true, problems: [] }],
    });
    expect(await json(box, "verify")).toMatchObject({ ok: true, pinCount: 5, problems: [], format: "snapshot" });
    expect(await json(box, "verify", "--all")).toMatchObject({ ok: true, snapshots: [{ ok: true }] });
  });

  test("with --dry-run writes nothing at all", async () => {
    const box = await makePinsetBox(5);
    // SQLite makes and removes its own files beside the pinset even to read it, which the directory's time shows.
    const tree = async (): Promise<readonly string[]> =>
      (await treeOf(box.baseDir)).filter((line) => !line.startsWith("state/ "));
    const before = await tree();
    const planned = await fula(box, "snapshot", "--dry-run");
    expect(planned).toMatchObject({ exitCode: 0 });
    expect(planned.stdout).toContain("Would take snapshot 1 of 5 pins (there is no earlier one)");
    expect(await tree()).toEqual(before);
    expect(existsSync(box.snapshotsDir)).toBe(false);
  });

  test("of an emptied pinset exits 3 and says how to get the pins back, and --accept-shrink takes it", async () => {
    const box = await makePinsetBox(5);
    await fula(box, "snapshot");
    await unpinAll(box);
    const refused = await fula(box, "snapshot");
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toMatch(
      /^FULA_SNAPSHOT_SHRUNK: The pinset is empty, and the last good snapshot had 5 pins\. No snapshot was taken\.\n {2}Try: fula-master restore --dry-run/,
    );
    expect((await fula(box, "snapshot", "--dry-run")).exitCode).toBe(3);
    expect((await fula(box, "snapshot", "--accept-shrink")).exitCode).toBe(0);
  });

  test("of a master that never had a pin exits 3 too", async () => {
    const box = await makePinsetBox(0);
    expect((await fula(box, "snapshot")).exitCode).toBe(3);
    expect((await fula(box, "snapshot", "--accept-shrink")).exitCode).toBe(0);
  });

  test("while another one is taken exits 3 and names its process", async () => {
    const box = await makePinsetBox(1);
    using _ = await acquireLock(join(box.baseDir, "state/locks/snapshot.lock"), "take a snapshot", systemClock);
    const { exitCode, stderr } = await fula(box, "snapshot");
    expect(exitCode).toBe(3);
    expect(stderr).toMatch(new RegExp(`^FULA_LOCKED: .*process ${process.pid} \\(take a snapshot`));
  });

  test("before the box has joined exits 2", async () => {
    const box = await makePinsetBox(1);
    writeFileSync(join(box.baseDir, "fula-master.yaml"), "runtime: embedded\n");
    expect((await fula(box, "snapshot")).exitCode).toBe(2);
  });

  test("removes old ones by snapshot.keep, unless told not to", async () => {
    const box = await makePinsetBox(1);
    const keep = "snapshot:\n  keep:\n    last: 1\n    daily: 0\n    weekly: 0\n    monthly: 0\n";
    writeFileSync(
      join(box.baseDir, "fula-master.yaml"),
      `${readFileSync(join(box.baseDir, "fula-master.yaml"), "utf8")}${keep}`,
    );
    await fula(box, "snapshot");
    expect(await json(box, "snapshot", "--no-prune")).toMatchObject({ pruned: [] });
    const planned = await fula(box, "snapshot", "prune", "--dry-run");
    expect(planned.stdout).toMatch(/would remove {2}pinset-\S+\n1 of 2 snapshots would be removed\.\n$/);
    expect(readdirSync(box.snapshotsDir)).toHaveLength(8);
    const pruned = await fula(box, "snapshot", "prune");
    expect(pruned.stdout).toMatch(
      /^keep {10}pinset-\S+ {2}\(last, last good\)\nremoved {7}pinset-\S+\n1 of 2 snapshots removed\.\n$/,
    );
    expect(readdirSync(box.snapshotsDir)).toHaveLength(4);
    expect((await fula(box, "verify")).exitCode).toBe(0);
  });

  test("--install-cron --dry-run says what would be installed and installs nothing", async () => {
    const box = await makePinsetBox(1);
    const { exitCode, stdout } = await fula(box, "snapshot", "--install-cron", "--dry-run");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^The snapshot schedule \(0 \*\/6 \* \* \*\): /);
  });
});

describe("verify", () => {
  test("of a snapshot that was tampered with exits 1 and tells every reason", async () => {
    const box = await makePinsetBox(3);
    await fula(box, "snapshot");
    const name = readdirSync(box.snapshotsDir).find((file) => file.endsWith(".zst")) ?? "";
    const bytes = readFileSync(join(box.snapshotsDir, name));
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    writeFileSync(join(box.snapshotsDir, name), bytes);
    const { exitCode, stdout } = await fula(box, "verify");
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^pinset-\S+: NOT GOOD, 1 problem\n/);
    expect(stdout).toContain("FULA_SNAPSHOT_DIGEST: The SHA-256 of ");
    expect(await json(box, "verify")).toMatchObject({ ok: false, problems: [{ code: "FULA_SNAPSHOT_DIGEST" }] });
    expect((await fula(box, "verify", "--all")).exitCode).toBe(1);
  });

  test("without any snapshot exits 1 and says what to do", async () => {
    const box = await makePinsetBox(1);
    const { exitCode, stderr } = await fula(box, "verify");
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^FULA_SNAPSHOT_ABSENT: There is no snapshot in .*\n {2}Try: fula-master snapshot/);
  });

  test("takes a path, a path relative to where it is run, and a bare name", async () => {
    const box = await makePinsetBox(1);
    await fula(box, "snapshot");
    const file = readdirSync(box.snapshotsDir).find((each) => each.endsWith(".json")) ?? "";
    for (const named of [join(box.snapshotsDir, file), file, file.replace(".json", "")]) {
      expect((await fula(box, "verify", named)).exitCode).toBe(0);
    }
    const options = { baseDir: box.baseDir, cwd: box.baseDir };
    expect((await runCliForTest(["verify", `snapshots/${file}`], options)).exitCode).toBe(0);
    expect((await runCliForTest(["verify", `nowhere/${file}`], options)).exitCode).toBe(1);
  });

  test("notices that newer snapshots were taken away", async () => {
    const box = await makePinsetBox(1);
    await fula(box, "snapshot");
    await fula(box, "snapshot");
    const newest = readdirSync(box.snapshotsDir).findLast((each) => each.endsWith(".json")) ?? "";
    const files = filesOf(join(box.snapshotsDir, newest));
    for (const path of [files.data, files.manifest, files.signature, files.minisign]) renameSync(path, `${path}.gone`);
    const found = await fula(box, "verify");
    expect(found.exitCode).toBe(1);
    expect(found.stdout).toContain(
      "FULA_SNAPSHOT_REPLAYED: It has sequence 1, but the last snapshot that this box took has sequence 2",
    );
  });

  test("with --max-age exits 1 for one that is older, and refuses what is no duration", async () => {
    const box = await makePinsetBox(1);
    await fula(box, "snapshot");
    expect((await fula(box, "verify", "--max-age")).exitCode).toBe(0);
    expect((await fula(box, "verify", "--max-age", "26h")).exitCode).toBe(0);
    // The name has whole seconds, so a millisecond has passed since.
    const stale = await fula(box, "verify", "--max-age", "1ms");
    expect(stale.exitCode).toBe(1);
    expect(stale.stdout).toContain("FULA_SNAPSHOT_STALE");
    for (const wrong of ["yesterday", "0s"]) expect((await fula(box, "verify", "--max-age", wrong)).exitCode).toBe(2);
    expect((await fula(box, "verify", "--all", "file")).exitCode).toBe(2);
  });

  test("of another cluster's snapshot exits 1 unless any cluster will do", async () => {
    const box = await makePinsetBox(1);
    await fula(box, "snapshot");
    const settings = join(box.baseDir, "fula-master.yaml");
    writeFileSync(
      settings,
      readFileSync(settings, "utf8").replace(box.clusterId, "0b9a5f0e-0000-4000-8000-00000000000f"),
    );
    const found = await fula(box, "verify");
    expect(found.exitCode).toBe(1);
    expect(found.stdout).toContain("FULA_SNAPSHOT_CLUSTER");
    expect((await fula(box, "verify", "--any-cluster")).exitCode).toBe(0);
  });
});

describe("key trust", () => {
  const keyOf = async (box: PinsetBox): Promise<string> => {
    const { keys } = Object(await json(box, "key", "trusted"));
    return String(keys[0]?.keyId);
  };

  test("makes the snapshots of another box good here, in every spelling of the key, and untrust undoes it", async () => {
    const box = await makePinsetBox(1);
    const other = await makePinsetBox(2);
    const { manifestFile } = await other.snapshot();
    const key = await keyOf(other);
    const keys = join(other.baseDir, "keys");
    const minisign = readFileSync(join(keys, "snapshot-minisign.pub"), "utf8").split("\n")[1] ?? "";
    for (const spelling of [
      key,
      join(keys, "snapshot-ed25519.pub.pem"),
      join(keys, "snapshot-minisign.pub"),
      minisign,
    ]) {
      const before = await fula(box, "verify", manifestFile);
      expect(before.exitCode).toBe(1);
      expect(before.stdout).toContain(
        `Try: compare the key with what its box prints for fula-master key trusted; if it is that one: fula-master key trust ${key}`,
      );
      expect((await fula(box, "key", "trust", spelling)).stdout).toMatch(new RegExp(`^Trusted ${key} \\(`));
      expect((await fula(box, "key", "trust", spelling)).stdout).toMatch(/^Already so/);
      expect((await fula(box, "verify", manifestFile)).exitCode).toBe(0);
      const trusted = { keyId: key, source: "settings", minisign };
      expect(await json(box, "key", "trusted")).toMatchObject({ keys: [{ source: "own" }, trusted] });
      expect((await fula(box, "key", "untrust", spelling)).exitCode).toBe(0);
    }
    expect((await fula(box, "verify", manifestFile)).exitCode).toBe(1);
  });

  test("with --dry-run changes nothing", async () => {
    const box = await makePinsetBox(1);
    const other = await makePinsetBox(1);
    await other.snapshot();
    const before = readFileSync(join(box.baseDir, "fula-master.yaml"), "utf8");
    const planned = await fula(box, "key", "trust", await keyOf(other), "--dry-run");
    expect(planned.stdout).toMatch(/^Would trust ed25519:/);
    expect(readFileSync(join(box.baseDir, "fula-master.yaml"), "utf8")).toBe(before);
  });

  test("keeps what stands in the settings file", async () => {
    const box = await makePinsetBox(1);
    const other = await makePinsetBox(1);
    await other.snapshot();
    const settings = join(box.baseDir, "fula-master.yaml");
    writeFileSync(settings, `# mine\n${readFileSync(settings, "utf8")}`);
    await fula(box, "key", "trust", await keyOf(other));
    expect(readFileSync(settings, "utf8")).toMatch(/^# mine\nruntime: embedded\n/);
  });

  test("refuses private keys, weak keys, other keys and what is no key", async () => {
    const box = await makePinsetBox(1);
    await box.snapshot();
    const rsa = join(box.baseDir, "rsa.pem");
    const { generateKeyPairSync } = await import("node:crypto");
    writeFileSync(
      rsa,
      generateKeyPairSync("rsa", { modulusLength: 1024 }).publicKey.export({ format: "pem", type: "spki" }),
    );
    for (const wrong of [
      join(box.baseDir, "keys/snapshot-ed25519.pem"),
      `ed25519:01${"0".repeat(62)}`,
      "ed25519:12",
      rsa,
      join(box.baseDir, "fula-master.yaml"),
      box.baseDir,
      "nowhere",
    ]) {
      const { exitCode, stderr } = await fula(box, "key", "trust", wrong);
      expect(exitCode).toBe(2);
      expect(stderr).toMatch(/^FULA_KEY_UNUSABLE: /);
    }
  });

  test("says where the keys come from when the environment stands above the file", async () => {
    const box = await makePinsetBox(1);
    await box.snapshot();
    const key = await keyOf(box);
    const env = { PATH: process.env["PATH"], FULA_MASTER_SNAPSHOT_TRUSTED_KEYS: key };
    const { exitCode, stderr } = await runCliForTest(["key", "trust", key], { baseDir: box.baseDir, env });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("environment FULA_MASTER_SNAPSHOT_TRUSTED_KEYS");
  });
});
