import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runCliForTest } from "../../support/cli.ts";
import { blockPin } from "../../support/pin-of-block.ts";
import { makePinsetBox } from "../../support/pinset-box.ts";
import { rawBytes, rawCid } from "../../support/pins.ts";
import { tempDir } from "../../support/temp-dir.ts";

const [first, second] = [blockPin(0).cid, blockPin(1).cid];

describe("pin ls", () => {
  test("prints one line a pin in the order of the CIDs, and how many on stderr", async () => {
    const { baseDir } = await makePinsetBox(3);
    const { stdout, stderr, exitCode } = await runCliForTest(["pin", "ls"], { baseDir });
    expect(exitCode).toBe(0);
    const lines = stdout.trim().split("\n");
    expect(lines.map((line) => line.split(/\s+/)[0])).toEqual(
      [0, 1, 2].map((number) => blockPin(number).cid).toSorted(),
    );
    expect(lines.every((line) => /recursive +(all|1) +never +object-\d$/.test(line))).toBe(true);
    expect(stderr).toBe("3 pins\n");
  });

  test("with --json prints whole records, one a line", async () => {
    const { baseDir } = await makePinsetBox(2);
    const { stdout } = await runCliForTest(["pin", "ls", "--json", "--name", "object-1"], { baseDir });
    expect(JSON.parse(stdout)).toEqual(blockPin(1));
  });

  test("with --expired prints only pins whose time is over", async () => {
    const box = await makePinsetBox(2);
    await box.withPins(async (cluster) => cluster.put({ ...blockPin(1), expire_at: "2026-01-02T00:00:00Z" }));
    const { stdout } = await runCliForTest(["pin", "ls", "--expired"], { baseDir: box.baseDir });
    expect(stdout.split(/\s+/)[0]).toBe(blockPin(1).cid);
    expect(stdout.trim().split("\n")).toHaveLength(1);
  });

  test("shows what a name would do to the terminal instead of doing it", async () => {
    const box = await makePinsetBox(0);
    await box.withPins(async (cluster) => cluster.put({ ...blockPin(0), name: "\u001b[31mred\u001b[0m\nnext" }));
    const { stdout } = await runCliForTest(["pin", "ls"], { baseDir: box.baseDir });
    expect(stdout).not.toContain("\u001b");
    expect(stdout.trim().split("\n")).toHaveLength(1);
  });
});

describe("pin add", () => {
  test("pins what is here", async () => {
    const box = await makePinsetBox(0);
    const cid = rawCid("added");
    await box.withPins(async (_cluster, blocks) => blocks.put(cid, rawBytes("added")));
    const { exitCode, stdout } = await runCliForTest(
      ["pin", "add", cid.toString(), "--name", "n", "--expire", "2999-01-01T00:00:00Z", "--copies", "2"],
      { baseDir: box.baseDir },
    );
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/ {2}pinned; pinned on embedded-[0-9a-f]{32}\n$/);
    expect(await box.pins()).toMatchObject([
      { cid: cid.toString(), name: "n", expire_at: "2999-01-01T00:00:00Z", replication_factor_min: 2 },
    ]);
  });

  test("exits 1 where blocks are missing, and says which", async () => {
    const box = await makePinsetBox(0);
    const { exitCode, stdout } = await runCliForTest(["pin", "add", first], { baseDir: box.baseDir });
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`1 of 1 blocks not here, such as ${first}`);
  });

  test("of a pinned CID keeps every option that was not named", async () => {
    const box = await makePinsetBox(1);
    const before = blockPin(0);
    expect((await runCliForTest(["pin", "add", first], { baseDir: box.baseDir })).stdout).toContain("already pinned");
    expect(await box.pins()).toEqual([before]);
    await runCliForTest(["pin", "add", first, "--metadata", "colour=blue=green"], { baseDir: box.baseDir });
    expect(await box.pins()).toEqual([{ ...before, metadata: { number: "0", colour: "blue=green" } }]);
  });

  test("with --dry-run says what it would do and writes nothing", async () => {
    const box = await makePinsetBox(1);
    const { stdout } = await runCliForTest(["pin", "add", first, second, "--name", "x", "--dry-run"], {
      baseDir: box.baseDir,
    });
    expect(stdout).toContain(`${first}  would be changed (name)`);
    expect(stdout).toContain(`${second}  would be pinned`);
    expect(await box.pins()).toEqual([blockPin(0)]);
  });

  test.each([
    [["--expire", "yesterday"], "--expire"],
    [["--expire", "2020-01-01T00:00:00Z"], "in the future"],
    [["--copies", "0"], "--copies"],
    [["--copies", "many"], "--copies"],
    [["--metadata", "novalue"], "--metadata"],
    [["--mode", "sideways"], "--mode"],
  ])("refuses %s", async (options, named) => {
    const { baseDir } = await makePinsetBox(0);
    const { exitCode, stderr } = await runCliForTest(["pin", "add", first, ...options], { baseDir });
    expect(exitCode).toBe(2);
    expect(stderr).toContain(named);
  });

  test("refuses what is no CID before it pins any", async () => {
    const box = await makePinsetBox(0);
    const { exitCode, stderr } = await runCliForTest(["pin", "add", first, "nonsense"], { baseDir: box.baseDir });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("FULA_CID_INVALID");
    expect(await box.pins()).toEqual([]);
  });
});

describe("pin rm", () => {
  test("asks, and removes nothing where nobody can be asked", async () => {
    const box = await makePinsetBox(1);
    const { exitCode, stderr } = await runCliForTest(["pin", "rm", first], { baseDir: box.baseDir });
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_CONFIRMATION_REQUIRED");
    expect(await box.pins()).toHaveLength(1);
  });

  test("removes with --yes, and exits 1 for a CID that was not pinned", async () => {
    const box = await makePinsetBox(1);
    const { exitCode, stdout } = await runCliForTest(["pin", "rm", first, second, "--yes"], { baseDir: box.baseDir });
    expect(exitCode).toBe(1);
    expect(stdout).toBe(`${first}  removed\n${second}  is not pinned\n`);
    expect(await box.pins()).toEqual([]);
  });

  test("with --dry-run removes nothing and asks nothing", async () => {
    const box = await makePinsetBox(1);
    const { exitCode, stdout } = await runCliForTest(["pin", "rm", first, "--dry-run"], { baseDir: box.baseDir });
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: `${first}  would be removed\n` });
    expect(await box.pins()).toHaveLength(1);
  });
});

describe("pin status", () => {
  test("tells pinned from not pinned by the exit code", async () => {
    const box = await makePinsetBox(1);
    const good = await runCliForTest(["pin", "status", first], { baseDir: box.baseDir });
    expect(good.exitCode).toBe(0);
    expect(good.stdout).toMatch(/ {2}pinned on embedded-/);
    const none = await runCliForTest(["pin", "status", second, "--json"], { baseDir: box.baseDir });
    expect(none.exitCode).toBe(1);
    expect(JSON.parse(none.stdout)).toEqual({ cid: second, pin: null, status: null });
  });
});

describe("a box without a pinset", () => {
  test("that has not joined is told to join", async () => {
    const { exitCode, stderr } = await runCliForTest(["pin", "ls"], { baseDir: tempDir() });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("fula-master join");
  });

  test("whose pinset file is lost gets an error and no new file", async () => {
    const box = await makePinsetBox(2);
    rmSync(box.pinsFile);
    const { exitCode, stderr } = await runCliForTest(["pin", "ls"], { baseDir: box.baseDir });
    expect(exitCode).toBe(4);
    expect(stderr).toContain("fula-master restore");
    expect(readdirSync(join(box.baseDir, "state"))).not.toContain("pins.sqlite");
  });

  test("whose cluster could not fetch from its blocks is refused", async () => {
    const baseDir = tempDir();
    writeFileSync(join(baseDir, "fula-master.yaml"), `${CLUSTER_ID}cluster:\n  mode: rest\nblocks:\n  mode: local\n`);
    const { exitCode, stderr } = await runCliForTest(["pin", "ls"], { baseDir });
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_CLUSTER_UNSUPPORTED");
  });

  test("whose cluster does not answer gets exit code 4 and no empty list", async () => {
    const baseDir = tempDir();
    writeFileSync(
      join(baseDir, "fula-master.yaml"),
      `${CLUSTER_ID}cluster:\n  mode: rest\n  api: /ip4/127.0.0.1/tcp/9\nblocks:\n  mode: kubo\n`,
    );
    const { exitCode, stdout, stderr } = await runCliForTest(["pin", "ls"], { baseDir });
    expect(exitCode).toBe(4);
    expect(stderr).toContain("FULA_CLUSTER_UNREADABLE");
    expect(stdout).toBe("");
  });
});

const CLUSTER_ID = "node:\n  clusterId: 0b9a5f0e-0000-4000-8000-000000000001\n";
