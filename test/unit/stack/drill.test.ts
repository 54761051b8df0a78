import { expect, test } from "vitest";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { type Check, defineDrill, type DrillScene, expectThat } from "../../../src/lib/stack/drill.ts";
import { DRILLS } from "../../../src/lib/stack/drill-catalog.ts";
import { planDrills } from "../../../src/lib/stack/drill-run.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { tempDir } from "../../support/temp-dir.ts";

type Claim = "first" | "second" | "third";

async function runOf(
  run: (check: Check<Claim>) => Promise<void>,
  signal: AbortSignal = new AbortController().signal,
): Promise<readonly (readonly [string, string])[]> {
  const claims = { first: "One", second: "Two", third: "Three" };
  const drill = defineDrill<Claim>({ id: "D0", title: "Any", claims, run: async (_, check) => await run(check) });
  const scene: Partial<DrillScene> = { clock: new ManualClock(), random: systemRandom, signal };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- these drills look at nothing else of it
  return (await drill.run(scene as DrillScene)).map(({ outcome, evidence }) => [outcome, evidence]);
}

async function settings(role: "master" | "storage", runtime: "embedded" | "docker" = "docker") {
  return await loadConfig({
    globals: { baseDir: tempDir() },
    env: { FULA_MASTER_NODE_ROLE: role, FULA_MASTER_RUNTIME: runtime },
    cwd: "/",
  });
}

test("every claim of a drill is in its report, with what was seen", async () => {
  const seen = await runOf(async (check) => {
    await check("first", async () => "it is so");
    await check("third", async () => {
      expectThat(false, "it is otherwise");
      return "never";
    });
  });
  expect(seen).toEqual([
    ["passed", "it is so"],
    ["not-run", "it needs what failed: Three"],
    ["failed", "it is otherwise"],
  ]);
});

test("a claim that cannot be looked at has failed, and says why", async () => {
  const seen = await runOf(async (check) => {
    const holds = await check("first", async () => {
      throw new FulaError("FULA_CLUSTER_UNREADABLE", "Nobody answers.");
    });
    expect(holds).toBe(false);
  });
  expect(seen[0]).toEqual(["failed", "FULA_CLUSTER_UNREADABLE: Nobody answers."]);
});

test("a drill that cannot be begun leaves every claim as not run", async () => {
  const seen = await runOf(async () => {
    throw new Error("the stores do not open");
  });
  expect(seen).toEqual(Array.from({ length: 3 }, () => ["not-run", "the stores do not open"]));
});

test("a claim that says nothing about a box is not in its report, and nobody looks at it", async () => {
  const looked: string[] = [];
  const drill = defineDrill<Claim>({
    id: "D0",
    title: "Any",
    claims: { first: "One", second: "Two", third: "Three" },
    onlyWhere: { second: ({ config }) => config.node.role === "master" },
    run: async (_, check) => {
      for (const claim of ["first", "second", "third"] as const) {
        await check(claim, async () => {
          looked.push(claim);
          return "seen";
        });
      }
    },
  });
  const scene: Partial<DrillScene> = { signal: new AbortController().signal, loaded: await settings("storage") };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- this drill looks at nothing else of it
  const seen = await drill.run(scene as DrillScene);
  expect(seen.map(({ claim }) => claim)).toEqual(["One", "Three"]);
  expect(looked).toEqual(["first", "third"]);
});

test("an interrupted drill ends at once and gives no report", async () => {
  const stop = new AbortController();
  const running = runOf(async (check) => {
    await check("first", async () => {
      stop.abort(new Error("stopped"));
      throw new Error("because it was stopped");
    });
  }, stop.signal);
  await expect(running).rejects.toThrow("stopped");
});

test("every drill of the fleet's runbooks is there, with as many claims as those made", () => {
  const ofSeed = DRILLS.filter(({ id }) => ["D1", "D2", "D3", "D4", "D5", "D6", "D7"].includes(id));
  expect(ofSeed.length).toBe(7);
  expect(ofSeed.flatMap(({ claims }) => claims).length).toBeGreaterThanOrEqual(18);
});

test("a drill that what it needs keeps from being carried out is not run, and says why", async () => {
  const drill = defineDrill<Claim>({
    id: "D0",
    title: "Any",
    claims: { first: "One", second: "Two", third: "Three" },
    unableHere: async () => "the server does not let us",
    run: async () => {},
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- this drill looks at nothing of it
  expect(await drill.unableHere({} as DrillScene)).toBe("the server does not let us");
});

test("without --dangerous nothing is run that others notice", async () => {
  const loaded = await settings("master");
  const planned = planDrills(loaded, { ids: [], dangerous: false });
  const disturbing = planned.filter(({ drill }) => drill.disturbs !== null);
  expect(disturbing.length).toBeGreaterThan(0);
  for (const { because } of disturbing) expect(because).toContain("--dangerous");
  expect(() => planDrills(loaded, { ids: ["d8"], dangerous: false })).toThrow(
    expect.objectContaining({ code: "FULA_DRILL_DANGEROUS" }),
  );
});

test("an unknown drill is named with its nearest neighbour", async () => {
  const loaded = await settings("master");
  expect(() => planDrills(loaded, { ids: ["D77"], dangerous: false })).toThrow(
    expect.objectContaining({ code: "FULA_USAGE", hint: expect.stringContaining("D7") }),
  );
});

test("what needs a container is not run where there is none", async () => {
  const planned = planDrills(await settings("master", "embedded"), { ids: [], dangerous: true });
  expect(planned.find(({ drill }) => drill.id === "D9")?.because).toBe("there is no Kubo container of our own");
});

test("on a storage node only what it has is drilled", async () => {
  const planned = planDrills(await settings("storage"), { ids: [], dangerous: true });
  expect(planned.filter(({ because }) => because === null).map(({ drill }) => drill.id)).not.toContain("D2");
  expect(planned.find(({ drill }) => drill.id === "D2")?.because).toBe("a storage node has no ledger");
});
