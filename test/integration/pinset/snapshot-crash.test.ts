import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, watch } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { listSnapshots } from "../../../src/lib/pinset/catalog.ts";
import { memoryFile } from "../../../src/lib/pinset/memory.ts";
import { loadTrustedKeys } from "../../../src/lib/pinset/trust.ts";
import { verifySnapshot } from "../../../src/lib/pinset/verify.ts";
import { pathsIn } from "../../support/snapshots.ts";
import { runOnTinyDisk } from "../../support/tiny-disk.ts";
import { tempDir } from "../../support/temp-dir.ts";

const CHILD = join(PROJECT_ROOT, "test/support/children/take-snapshot.ts");
/** Changes that every snapshot makes, at the least. */
const KILLS_MIN = 5;

/** Takes a snapshot in a process of its own and kills it at its n-th change of the directories that it works in. */
async function killAtChange(baseDir: string, order: string, change: number): Promise<boolean> {
  const { snapshotsDir, stateDir } = pathsIn(baseDir);
  const child = spawn(process.execPath, [CHILD, baseDir, "3000", order], { stdio: ["ignore", "inherit", "inherit"] });
  let changes = 0;
  const watchers = [snapshotsDir, stateDir].map((dir) =>
    watch(dir, { recursive: dir === snapshotsDir }, () => {
      changes += 1;
      if (changes === change) child.kill("SIGKILL");
    }),
  );
  try {
    await once(child, "exit");
    if (child.signalCode !== "SIGKILL") expect(child.exitCode).toBe(0);
    return child.signalCode === "SIGKILL";
  } finally {
    for (const watcher of watchers) watcher.close();
  }
}

describe("a snapshot that is killed with SIGKILL", () => {
  test.each(["sorted", "unsorted"])(
    "at any change on the disk loses nothing and gives no number twice (%s source)",
    async (order) => {
      const baseDir = tempDir();
      const { snapshotsDir, stateDir, keysDir } = pathsIn(baseDir);
      mkdirSync(snapshotsDir, { recursive: true });
      mkdirSync(stateDir, { recursive: true });
      const seen = new Map<number, string>();
      let killed = 0;
      let wasKilled = true;
      // One that is through at an early change was not seen in time, on a busy machine: that change comes again.
      for (let change = 1; wasKilled || killed <= KILLS_MIN; change += wasKilled ? 1 : 0) {
        wasKilled = await killAtChange(baseDir, order, change);
        killed += wasKilled ? 1 : 0;
        const trustedKeys = await loadTrustedKeys(keysDir, []);
        for (const { good, manifest, problems, files } of await listSnapshots(snapshotsDir, {
          trustedKeys,
          clusterId: "synthetic",
        })) {
          expect(problems).toEqual([]);
          expect(good).toBe(true);
          if (manifest === null) throw new Error("a good snapshot without a manifest");
          const text = readFileSync(files.manifest, "utf8");
          // What was shown once under a number stays, and no other ever gets that number.
          expect(seen.get(manifest.sequence) ?? text).toBe(text);
          seen.set(manifest.sequence, text);
        }
      }
      expect(killed).toBeGreaterThan(KILLS_MIN);
      expect(readdirSync(snapshotsDir).filter((name) => name.startsWith("."))).toEqual([]);
      expect(existsSync(memoryFile(stateDir))).toBe(true);
      const trustedKeys = await loadTrustedKeys(keysDir, []);
      const entries = await listSnapshots(snapshotsDir, { trustedKeys, clusterId: "synthetic" });
      expect(new Set(entries.map(({ manifest }) => manifest?.sequence))).toEqual(new Set(seen.keys()));
      for (const { files } of entries) {
        const found = await verifySnapshot(files.data, { trustedKeys, clusterId: "synthetic", clock: systemClock });
        expect(found).toMatchObject({ ok: true, pinCount: 3_000 });
      }
    },
    360_000,
  );
});

describe("a disk that runs full while a snapshot is taken", () => {
  test.each(["sorted", "unsorted"])(
    "is FULA_DISK_FULL; nothing is left of it, and earlier snapshots are as they were (%s source)",
    async (order) => {
      const { exitCode, stdout, stderr } = await runOnTinyDisk("snapshot-on-disk.ts", 2_048, [order]);
      expect(stderr).toBe("");
      expect(exitCode).toBe(0);
      expect(JSON.parse(stdout)).toEqual({
        outcome: "FULA_DISK_FULL",
        earlierIsGood: true,
        isNothingLeft: true,
        next: { ok: true, sequence: 2, remarks: [] },
      });
    },
  );
});
