import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { glob, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseCid } from "../../../src/lib/blocks/cid.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { acquireLock } from "../../../src/lib/kernel/lock.ts";
import { readSweepReport } from "../../../src/lib/pinset/sweep-report.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { blockPin } from "../../support/pin-of-block.ts";
import { makePinsetBox, type PinsetBox } from "../../support/pinset-box.ts";

async function sweep(box: PinsetBox, ...options: readonly string[]): Promise<CliRun> {
  return runCliForTest(["sweep", "--no-ledger", ...options], { baseDir: box.baseDir });
}

function reportFile(box: PinsetBox): string {
  return join(box.baseDir, "state", "sweep-last.json");
}

function alertsOf(box: PinsetBox): string {
  const path = join(box.baseDir, "replication-alerts.log");
  return existsSync(path) ? readFileSync(path, "utf8") : "";
}

async function loseBlock(box: PinsetBox, number: number): Promise<void> {
  await box.withPins(async (_cluster, blocks) => blocks.delete(parseCid(blockPin(number).cid)));
}

describe("sweep", () => {
  test("gives new alerts to sweep.alertCommand, and what it did not take once more after the next sweep", async () => {
    const box = await makePinsetBox(3);
    const taken = join(box.baseDir, "taken.jsonl");
    const program = join(box.baseDir, "notify.sh");
    const settings = join(box.baseDir, "fula-master.yaml");
    const text = readFileSync(settings, "utf8");
    writeFileSync(settings, text.replace("sweep:\n", `sweep:\n  alertCommand: ${program}\n`));
    await loseBlock(box, 1);

    writeFileSync(program, "#!/bin/sh\necho the pager is broken >&2\nexit 5\n", { mode: 0o755 });
    const failed = await sweep(box);
    expect(failed.exitCode).toBe(1);
    expect(failed.stdout).toContain("sweep.alertCommand did not take 1 alert, and will be given them again");
    expect(failed.stdout).toContain("the pager is broken");

    await loseBlock(box, 2);
    writeFileSync(program, `#!/bin/sh\nexec cat >> ${taken}\n`, { mode: 0o755 });
    const done = await sweep(box);
    expect(done).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("sweep.alertCommand took 2 alerts.") });
    const cids = readFileSync(taken, "utf8").trim().split("\n");
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is what the code under test wrote
    expect(cids.map((line) => (JSON.parse(line) as { cid: string }).cid)).toEqual([blockPin(1).cid, blockPin(2).cid]);

    expect((await sweep(box, "--json")).stdout).toContain('"alertCommand": null');
    expect(readFileSync(taken, "utf8").trim().split("\n")).toHaveLength(2);
  });

  test("with --dry-run gives nothing to sweep.alertCommand", async () => {
    const box = await makePinsetBox(1);
    const settings = join(box.baseDir, "fula-master.yaml");
    writeFileSync(settings, readFileSync(settings, "utf8").replace("sweep:\n", "sweep:\n  alertCommand: /bin/false\n"));
    await loseBlock(box, 0);
    expect((await sweep(box, "--dry-run")).exitCode).toBe(0);
  });

  test("of a storage node is refused, because it knows of its own copies alone", async () => {
    const box = await makePinsetBox(1);
    const settings = join(box.baseDir, "fula-master.yaml");
    writeFileSync(settings, readFileSync(settings, "utf8").replace("node:\n", "node:\n  role: storage\n"));
    const { exitCode, stderr } = await sweep(box);
    expect(exitCode).toBe(3);
    expect(stderr).toContain("FULA_CLUSTER_READ_ONLY");
  });

  test("whose ledger cannot be reached exits 4, and says so in its report", async () => {
    const box = await makePinsetBox(1);
    const { exitCode, stderr } = await runCliForTest(["sweep"], { baseDir: box.baseDir });
    expect(exitCode).toBe(4);
    expect(stderr).toContain("FULA_LEDGER_UNREADABLE");
    expect(await readSweepReport(reportFile(box))).toMatchObject({ outcome: "unreadable", ok: 0 });
    expect((await runCliForTest(["sweep", "--no-ledger", "--repair-ledger"], { baseDir: box.baseDir })).exitCode).toBe(
      2,
    );
  });

  test("of a well box says so, and keeps its report", async () => {
    const box = await makePinsetBox(5);
    expect(await sweep(box, "--strict")).toMatchObject({
      exitCode: 0,
      stdout: "5 pins: 5 ok.\nThe ledger was left out.\n",
    });
    expect(await readSweepReport(reportFile(box))).toMatchObject({ outcome: "ok", pins: 5, lastPins: 5, error: null });
  });

  test("finds a lost block: exit 1 with --strict, 0 without, one alert", async () => {
    const box = await makePinsetBox(5);
    await loseBlock(box, 2);
    const strict = await sweep(box, "--strict");
    expect(strict.exitCode).toBe(1);
    expect(strict.stdout).toContain("5 pins: 4 ok, 1 lost.\nHeld by too few: 1 before the repair, 1 after it.\n");
    expect(strict.stdout).toContain(blockPin(2).cid);
    expect((await sweep(box)).exitCode).toBe(0);
    expect(alertsOf(box).trim().split("\n")).toHaveLength(1);
    expect(alertsOf(box)).toContain('"event":"under-replicated"');
  });

  test("with --dry-run tells the same and leaves no trace", async () => {
    const box = await makePinsetBox(2);
    await loseBlock(box, 1);
    const before = await tree(box.baseDir);
    const { exitCode, stdout } = await sweep(box, "--strict", "--dry-run", "--json");
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ outcome: "below", lost: 1, pins: 2 });
    expect(await tree(box.baseDir)).toEqual(before);
  });

  test("with --deep finds a block whose bytes rotted, which a plain sweep cannot see", async () => {
    const box = await makePinsetBox(1);
    for await (const name of glob("**/*.data", { cwd: join(box.baseDir, "state", "blocks") })) {
      await writeFile(join(box.baseDir, "state", "blocks", name), "rotten");
    }
    expect((await sweep(box, "--strict")).exitCode).toBe(0);
    const deep = await sweep(box, "--strict", "--deep");
    expect(deep.exitCode).toBe(1);
    expect(deep.stdout).toContain("before the repair: pin_error");
  });

  test("takes the factor of --repl-min for pins that name none, and of the pin for those that do", async () => {
    const box = await makePinsetBox(2);
    const { stdout } = await sweep(box, "--repl-min", "2", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ ok: 1, under: 1 });
  });

  test.each([
    ["--grace", "soon"],
    ["--repl-min", "none"],
  ])("refuses %s %s", async (option, value) => {
    expect((await sweep(await makePinsetBox(0), option, value)).exitCode).toBe(2);
  });
});

describe("a sweep that cannot read everything exits 4 and leaves a report that says so", () => {
  const damage: Readonly<Record<string, (box: PinsetBox) => void>> = {
    "the pinset file is gone": (box) => rmSync(box.pinsFile),
    "the pinset file is cut": (box) => truncateSync(box.pinsFile, 4096 * 4),
    "the pinset file is empty": (box) => truncateSync(box.pinsFile, 0),
    "the pinset file is something else": (box) => writeFileSync(box.pinsFile, "not a database, ".repeat(1000)),
    "the state directory is gone": (box) => rmSync(join(box.baseDir, "state"), { recursive: true }),
  };
  test.each(Object.entries(damage))("%s", async (_name, breakIt) => {
    const box = await makePinsetBox(200);
    await sweep(box);
    breakIt(box);
    for (const options of [[], ["--strict"]]) {
      const { exitCode, stdout, stderr } = await sweep(box, ...options);
      expect(exitCode).toBe(4);
      expect(stdout).toBe("");
      expect(stderr).toMatch(/^FULA_PINSET_(MISSING|CORRUPT): /);
    }
    const report = await readSweepReport(reportFile(box));
    expect(report).toMatchObject({ outcome: "unreadable", pins: 0, ok: 0 });
    expect(report?.error?.code).toMatch(/^FULA_PINSET_/);
  });

  test("a record that rotted in the middle of the file", async () => {
    const box = await makePinsetBox(200);
    const bytes = await readFile(box.pinsFile, "latin1");
    await writeFile(box.pinsFile, bytes.replaceAll('"object-150"', '"Xbject-150"'), "latin1");
    expect(await sweep(box, "--strict")).toMatchObject({ exitCode: 4, stdout: "" });
  });

  test("an earlier good report does not survive as the last one, but its count does", async () => {
    const box = await makePinsetBox(3);
    await sweep(box);
    rmSync(box.pinsFile);
    await sweep(box);
    expect(await readSweepReport(reportFile(box))).toMatchObject({ outcome: "unreadable", lastPins: 3 });
  });
});

describe("an emptied pinset", () => {
  test("is refused until it is said to be meant", async () => {
    const box = await makePinsetBox(3);
    await sweep(box);
    await box.withPins(async (cluster) => {
      for (const number of [0, 1, 2]) await cluster.remove(blockPin(number).cid);
    });
    for (let run = 0; run < 2; run += 1) {
      const { exitCode, stdout, stderr } = await sweep(box);
      expect({ exitCode, stdout }).toEqual({ exitCode: 3, stdout: "" });
      expect(stderr).toContain("FULA_SWEEP_EMPTIED");
      expect(await readSweepReport(reportFile(box))).toMatchObject({ outcome: "refused", lastPins: 3 });
    }
    expect((await sweep(box, "--accept-empty")).exitCode).toBe(0);
    expect((await sweep(box)).exitCode).toBe(0);
  });
});

describe("two sweeps at once", () => {
  test("the second is refused and says who holds the lock", async () => {
    const box = await makePinsetBox(1);
    const lock = await acquireLock(join(box.baseDir, "state", "locks", "sweep.lock"), "sweep", systemClock);
    const { exitCode, stderr } = await sweep(box);
    lock.release();
    expect(exitCode).toBe(3);
    expect(stderr).toContain(String(process.pid));
    expect((await sweep(box)).exitCode).toBe(0);
  });
});

async function tree(dir: string): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const name of glob("**/*", { cwd: dir })) names.push(name);
  return names.filter((name) => !/pins\.sqlite-(wal|shm)$/.test(name)).toSorted();
}
