import { appendFile, copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseCid } from "../blocks/cid.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import { filesOf, type SnapshotFiles } from "../pinset/format.ts";
import { differingFields, PIN_FIELDS } from "../pinset/compare-pins.ts";
import { defineDrill, type DrillScene, expectThat } from "./drill.ts";
import { type DrillPin, inventPins, untilHeld } from "./drill-pins.ts";
import { type DrillStores, openStores } from "./drill-stores.ts";
import { runRestore } from "./restore-run.ts";
import { runSnapshot } from "./snapshot-run.ts";
import { runVerify } from "./verify-run.ts";

const MASS = 1_000;
/** How long no further pin may become held before the wait ends. */
const HELD_PATIENCE_MS = 120_000;
/** How long a restore waits for peers in all: each follows the changes of the pinset one after the other. */
const RESTORE_WAIT_MS = 900_000;
const AT_ONCE = 16;

/** D6: what a snapshot is for: it is good, a bad one is refused, and a lost pin comes back from it. */
export const snapshotDrill = defineDrill({
  id: "D6",
  title: "A pin comes back from a snapshot, and a tampered snapshot is refused",
  claims: {
    newest: "The newest snapshot of this box verifies and is not too old",
    taken: "A snapshot that is taken now verifies",
    longer: "A copy with one byte more is refused",
    edited: "A copy with one edited number in its manifest is refused",
    restored: "A pin that was removed comes back from it with every option, and its content is held",
  },
  unfitFor: ({ config }) => (config.node.role === "storage" ? "a storage node takes no snapshots" : null),
  run: async (scene, check) => {
    await using stores = await openStores(scene.loaded, scene);
    await check("newest", async () => await verifyNewest(scene));
    const pins = await makePins(scene, stores, 1);
    let files: SnapshotFiles | null = null;
    const taken = await check("taken", async () => {
      const snapshot = await takeApart(scene);
      files = filesOf(snapshot.file);
      return `${basename(snapshot.file)}: ${formatCount(snapshot.pinCount, "pin")}, signed by ${snapshot.keyId}`;
    });
    if (!taken || files === null) return;
    const original: SnapshotFiles = files;
    await check("longer", async () => {
      const copy = await copyTo(join(scene.dir, "longer"), original);
      await appendFile(copy.data, "\n");
      return await expectRefused(scene, copy);
    });
    await check("edited", async () => {
      const copy = await copyTo(join(scene.dir, "edited"), original);
      const manifest = await readFile(copy.manifest, "utf8");
      const edited = manifest.replace(/"pinCount":(\d+)/, (_, count: string) => `"pinCount":${Number(count) + 1}`);
      expectThat(edited !== manifest, "the manifest names no pinCount to edit");
      await writeFile(copy.manifest, edited);
      return await expectRefused(scene, copy);
    });
    await check("restored", async () => await loseAndRestore(scene, stores, pins, original));
  },
});

/** D8: what D6 does with one pin, with a thousand. */
export const massRestoreDrill = defineDrill({
  id: "D8",
  title: `${MASS} pins that were removed come back from a snapshot`,
  disturbs: `adds ${MASS} pins to the pinset, removes them, and restores them`,
  claims: {
    pinned: `${MASS} new pins are held`,
    restored:
      "After all of them were removed, one restore brings them back, equal field by field, and their content is held",
  },
  unfitFor: ({ config }) => (config.node.role === "storage" ? "a storage node may not pin" : null),
  run: async (scene, check) => {
    await using stores = await openStores(scene.loaded, scene);
    let pins: readonly DrillPin[] = [];
    const pinned = await check("pinned", async () => {
      pins = await makePins(scene, stores, MASS);
      return `${MASS} pins of ${scene.runId}`;
    });
    if (!pinned) return;
    await check("restored", async () => {
      const { file } = await takeApart(scene);
      return await loseAndRestore(scene, stores, pins, filesOf(file));
    });
  },
});

async function verifyNewest(scene: DrillScene): Promise<string> {
  const { loaded } = scene;
  const maxAgeMs = loaded.config.snapshot.maxAge;
  const [newest] = await runVerify(
    loaded,
    { file: null, all: false, anyCluster: false, maxAgeMs },
    { ...scene, cwd: "/" },
  );
  expectThat(newest !== undefined, "there is no snapshot");
  expectThat(newest.ok, newest.problems.map(({ code, message }) => `${code}: ${message}`).join("; "));
  return `${newest.name}: ${formatCount(newest.pinCount ?? 0, "pin")}, ${formatDuration(newest.ageMs ?? 0)} old`;
}

async function makePins(scene: DrillScene, stores: DrillStores, count: number): Promise<readonly DrillPin[]> {
  const pins = await inventPins(scene, count);
  await inBatches(pins, async ({ cid, bytes, pin }) => {
    scene.signal.throwIfAborted();
    await stores.blocks.put(parseCid(cid), bytes, scene.signal);
    await stores.cluster.put(pin);
  });
  await untilHeld(scene, stores, pins, HELD_PATIENCE_MS);
  return pins;
}

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let from = 0; from < items.length; from += AT_ONCE)
    await Promise.all(items.slice(from, from + AT_ONCE).map(work));
}

/** Takes a snapshot of the whole pinset, but among the run's own files: the chain of this box does not grow by it. */
async function takeApart(scene: DrillScene): Promise<{ file: string; pinCount: number; keyId: string }> {
  const { apart } = scene;
  const snapshot = await runSnapshot(apart, { acceptShrink: false, acceptClock: false, prune: false }, scene);
  const [verified] = await runVerify(
    apart,
    { file: snapshot.file, all: false, anyCluster: false, maxAgeMs: null },
    { ...scene, cwd: "/" },
  );
  const problems = verified?.problems.map(({ code, message }) => `${code}: ${message}`) ?? ["it was not looked at"];
  expectThat(verified?.ok === true, problems.join("; "));
  expectThat(verified.pinCount === snapshot.pinCount, `it holds ${verified.pinCount} of ${snapshot.pinCount} pins`);
  return snapshot;
}

async function copyTo(dir: string, files: SnapshotFiles): Promise<SnapshotFiles> {
  await mkdir(dir);
  const paths = [files.data, files.manifest, files.signature, files.minisign];
  await Promise.all(paths.map(async (path) => await copyFile(path, join(dir, basename(path)))));
  return filesOf(join(dir, basename(files.data)));
}

async function expectRefused(scene: DrillScene, { data }: SnapshotFiles): Promise<string> {
  const chosen = { file: data, all: false, anyCluster: false, maxAgeMs: null };
  const [verification] = await runVerify(scene.apart, chosen, { ...scene, cwd: "/" });
  expectThat(verification?.ok === false, "it verifies");
  const codes = verification.problems.map(({ code }) => code);
  return `refused: ${[...new Set(codes)].join(", ")}`;
}

async function loseAndRestore(
  scene: DrillScene,
  stores: DrillStores,
  pins: readonly DrillPin[],
  { data }: SnapshotFiles,
): Promise<string> {
  const { cluster } = stores;
  const before = await Promise.all(pins.map(async ({ cid }) => await cluster.pin(cid)));
  await inBatches(pins, async ({ cid }) => {
    expectThat(await cluster.remove(cid), `${cid} was not pinned when it was to be removed`);
    expectThat((await cluster.pin(cid)) === null, `${cid} is still pinned after it was removed`);
  });
  const report = await runRestore(
    scene.apart,
    {
      file: data,
      only: new Set(pins.map(({ cid }) => cid)),
      limit: null,
      overwrite: false,
      anyCluster: false,
      dryRun: false,
      concurrency: AT_ONCE,
      waitMs: RESTORE_WAIT_MS,
    },
    { ...scene, cwd: "/", approve: async () => {} },
  );
  const problems = report.result?.shown.map((problem) => JSON.stringify(problem)).join("; ") ?? "nothing was restored";
  expectThat(report.ok, problems);
  for (const [index, { cid }] of pins.entries()) {
    const [was, is] = [before[index] ?? null, await cluster.pin(cid)];
    expectThat(was !== null && is !== null, `${cid} is not pinned`);
    const fields = differingFields(was, is, cluster.assignedFields);
    expectThat(fields.length === 0, `${cid} has other ${fields.join(", ")}`);
  }
  const tookMs = await untilHeld(scene, stores, pins, HELD_PATIENCE_MS);
  const compared = PIN_FIELDS.length - cluster.assignedFields.length;
  return `${formatCount(pins.length, "pin")} equal in ${compared} fields, held after ${formatDuration(tookMs)}`;
}
