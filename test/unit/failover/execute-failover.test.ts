import { describe, expect, test } from "vitest";
import { executeRun, type FailoverReport } from "../../../src/lib/failover/execute-failover.ts";
import type { FailoverPorts } from "../../../src/lib/failover/failover-ports.ts";
import { beginRun, knownRun, type RunWish, takeOverRun } from "../../../src/lib/failover/failover-run.ts";
import { endedEpoch } from "../../../src/lib/failover/failover-states.ts";
import { readMissing } from "../../../src/lib/failover/missing-contents.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import type { JournalEntry } from "../../../src/lib/kernel/journal.ts";
import type { LedgerEpochRecord } from "../../../src/lib/membership/ledger-records.ts";
import { patientLedgerStore } from "../../../src/lib/membership/patient-ledger-store.ts";
import { FailoverWorld } from "../../support/failover-world.ts";

const quiet = { onStep: () => {}, report: () => {} };

async function wishOf(world: FailoverWorld, change: Partial<RunWish> = {}): Promise<RunWish> {
  const { number, uuid, primary } = await world.epoch();
  return {
    kind: "failover",
    node: "beta",
    owner: "beta, process 1",
    operator: "ed25519:ops",
    from: primary,
    to: null,
    replaces: { number, uuid },
    forced: false,
    allowedLoss: null,
    ...change,
  };
}

/** Begins a run or goes on with the one that was begun, as the command does. */
async function run(ports: FailoverPorts, wish: RunWish, mode: "go-on" | "abort" = "go-on"): Promise<FailoverReport> {
  const deps = { store: ports.store, clock: ports.clock, random: ports.random, signal: new AbortController().signal };
  const seen = await ports.store.confirm("failover");
  const known = knownRun(seen.value);
  await using keeper =
    known === null || known.state === "done" || known.state === "aborted"
      ? await beginRun(deps, wish, seen)
      : await takeOverRun(deps, wish, { revision: seen.revision, value: known });
  return await executeRun(ports, keeper, { wish: mode, signal: deps.signal, ...quiet });
}

function dead(world: FailoverWorld, node: string): void {
  world.box(node).alive = false;
}

describe("a failover", () => {
  test("moves the ledger to the standby, one epoch on, and tells the world last", async () => {
    const world = await FailoverWorld.make();
    const report = await run(world.ports(), await wishOf(world));
    expect(report).toMatchObject({ outcome: "done", primary: "beta", loss: { lossless: true }, epoch: { number: 2 } });
    expect(world.writers()).toEqual(["beta"]);
    const order = [
      "step.verified:raiseEpoch",
      "hook:fence:",
      "step.verified:proveFence",
      "promoted:beta",
      "verify",
      "hook:flip:beta",
    ];
    expect(world.events.filter((event) => order.includes(event))).toEqual(order);
    expect(report.raisedToWrittenMs).not.toBeNull();
  });

  test("of a master that is silent is refused before anything is changed: whether it is dead or cut off cannot be told", async () => {
    const world = await FailoverWorld.make();
    world.box("alpha").reachable = false;
    world.box("alpha").acts = false;
    await expect(run(world.ports(), await wishOf(world))).rejects.toMatchObject({ code: "FULA_FAILOVER_REFUSED" });
    expect(await world.epoch()).toMatchObject({ number: 1, phase: "open", primary: "alpha" });
    expect(world.writers()).toEqual(["alpha"]);
    // Nobody has to go on with it.
    expect((await world.ledger.open().get("failover")).value).toMatchObject({ step: "begun", state: "aborted" });
  });

  test("goes on from where an epoch stands that was raised by a run of which nothing is known any more", async () => {
    const world = await FailoverWorld.make();
    world.box("alpha").acts = false;
    const wish = await wishOf(world);
    await expect(run(world.ports(), wish)).rejects.toMatchObject({ code: "FULA_FENCE_UNPROVEN" });
    const store = world.ledger.open();
    await store.remove("failover", (await store.get("failover")).revision);
    world.box("alpha").acts = true;
    const report = await run(world.ports(), wish);
    expect(report).toMatchObject({ outcome: "done", primary: "beta", epoch: { number: 2 } });
    expect(report.steps[0]?.action).toBe("silenceOldMaster");
  });

  test("goes on where the operator attests that the silent master is off, and says who did", async () => {
    const world = await FailoverWorld.make();
    dead(world, "alpha");
    const report = await run(world.ports(), await wishOf(world, { forced: true }));
    expect(report).toMatchObject({ outcome: "done", primary: "beta", run: { forced: true, operator: "ed25519:ops" } });
    const proof = report.steps.find(({ action }) => action === "proveFence");
    expect(proof?.seen).toContain("ed25519:ops attests");
  });

  test("does not take an operator's word for it that a master is off which answers", async () => {
    const world = await FailoverWorld.make();
    world.box("alpha").acts = false;
    await expect(run(world.ports(), await wishOf(world, { forced: true }))).rejects.toMatchObject({
      code: "FULA_FAILOVER_REFUSED",
    });
    expect(world.writers()).toEqual(["alpha"]);
  });

  describe("of a machine that refuses connections, as a firewall before it does, too,", () => {
    async function refusing(standbys: readonly string[], record: Partial<LedgerEpochRecord> = {}) {
      const world = await FailoverWorld.make(standbys, record);
      Object.assign(world.box("alpha"), { acts: false, serving: false });
      return world;
    }

    test("is done where it can acknowledge nothing any more", async () => {
      const world = await refusing(["beta"]);
      const report = await run(world.ports(), await wishOf(world));
      expect(report).toMatchObject({ outcome: "done", primary: "beta", run: { forced: false } });
      const proof = report.steps.find(({ action }) => action === "proveFence");
      expect(proof?.seen).toContain("alpha refuses connections to its PostgreSQL");
    });

    test("is refused where it waited for no standby, until the operator attests that it is off", async () => {
      const world = await refusing(["beta"], { syncSet: [], syncNeeded: 0 });
      const wish = await wishOf(world, { allowedLoss: "0/1" });
      await expect(run(world.ports(), wish)).rejects.toMatchObject({
        code: "FULA_FAILOVER_REFUSED",
        message: expect.stringContaining("firewall"),
      });
      expect(await world.epoch()).toMatchObject({ number: 1, phase: "open" });
      expect(await run(world.ports(), { ...wish, forced: true })).toMatchObject({ outcome: "done", primary: "beta" });
    });

    test("is stopped before anybody is promoted where one of its standbys may still let it acknowledge", async () => {
      const world = await refusing(["beta", "gamma"], { syncSet: ["beta", "gamma"], syncNeeded: 1 });
      world.box("gamma").acts = false;
      const wish = await wishOf(world, { allowedLoss: "0/1" });
      await expect(run(world.ports(), wish)).rejects.toMatchObject({
        code: "FULA_FENCE_UNPROVEN",
        message: expect.stringContaining("firewall"),
      });
      expect(world.events).not.toContain("promoted:beta");
    });
  });

  test("stops at the fence where the old primary goes on although it was told to stop; an abort gives it its right back", async () => {
    const world = await FailoverWorld.make();
    world.box("alpha").acts = false;
    await expect(run(world.ports(), await wishOf(world))).rejects.toMatchObject({ code: "FULA_FENCE_UNPROVEN" });
    expect(world.events).not.toContain("promoted:beta");
    world.box("alpha").acts = true;
    const report = await run(world.ports(), await wishOf(world), "abort");
    expect(report).toMatchObject({ outcome: "aborted", primary: "alpha", epoch: { number: 3 } });
    await world.act();
    expect(await world.epoch()).toMatchObject({ phase: "open", primary: "alpha", syncSet: ["beta"], syncNeeded: 1 });
    expect(world.writers()).toEqual(["alpha"]);
  });

  test("with two standbys of which the primary waited for either is not made while one of them is gone", async () => {
    const world = await FailoverWorld.make(["beta", "gamma"], { syncSet: ["beta", "gamma"], syncNeeded: 1 });
    dead(world, "gamma");
    await expect(run(world.ports(), await wishOf(world))).rejects.toMatchObject({ code: "FULA_FAILOVER_REFUSED" });
    const allowed = await wishOf(world, { allowedLoss: "0/3000100" });
    expect(await run(world.ports(), allowed)).toMatchObject({ outcome: "done", primary: "beta" });
  });

  test("lets the other standby be waited for by the new primary from its first commit on", async () => {
    const world = await FailoverWorld.make(["beta", "gamma"], { syncSet: ["beta", "gamma"], syncNeeded: 1 });
    world.box("gamma").lsn += 100n;
    expect(await run(world.ports(), await wishOf(world))).toMatchObject({ primary: "gamma" });
    expect(await world.epoch()).toMatchObject({ syncSet: ["beta"], syncNeeded: 1 });
  });

  test("does not flip to a master that was seen not to work, and goes on once it works", async () => {
    const world = await FailoverWorld.make();
    world.service = "bad";
    await expect(run(world.ports(), await wishOf(world))).rejects.toMatchObject({ code: "FULA_FAILOVER_STOPPED" });
    expect(world.events).not.toContain("hook:flip:beta");
    world.service = "ok";
    expect(await run(world.ports(), await wishOf(world))).toMatchObject({ outcome: "done", primary: "beta" });
    expect((await world.epoch()).number).toBe(2);
  });

  test("stops where something is on no box any more, lists it, and names the option that accepts it", async () => {
    const world = await FailoverWorld.make();
    world.service = "bad";
    world.missing = ["a", "b"].map((cid) => ({ cid, name: `object:photos/${cid}.jpg`, why: "no peer knows it" }));
    const lines: JournalEntry[] = [];
    const ports = world.ports();
    const journal = { append: async (event: string, fields = {}) => void lines.push({ at: "", event, ...fields }) };
    await expect(run({ ...ports, journal }, await wishOf(world))).rejects.toMatchObject({
      code: "FULA_FAILOVER_STOPPED",
      hint: expect.stringContaining("--allow-missing 2"),
    });
    expect(lines.flatMap(readMissing)).toEqual(world.missing);
    expect(lines.find(({ event }) => event === "content.missing")).toMatchObject({ accepted: false });
    lines.length = 0;
    world.service = "attention";
    expect(await run({ ...ports, journal }, await wishOf(world))).toMatchObject({ outcome: "done" });
    expect(lines.find(({ event }) => event === "content.missing")).toMatchObject({
      accepted: true,
      operator: "ed25519:ops",
    });
  });

  test("cannot be aborted once somebody was chosen, and says how to complete it", async () => {
    const world = await FailoverWorld.make();
    world.service = "bad";
    await expect(run(world.ports(), await wishOf(world))).rejects.toMatchObject({ code: "FULA_FAILOVER_STOPPED" });
    await expect(run(world.ports(), await wishOf(world), "abort")).rejects.toMatchObject({
      code: "FULA_FAILOVER_TOO_LATE",
    });
    expect(world.writers()).toEqual(["beta"]);
  });

  test("does not promote a standby that is being rebuilt", async () => {
    const world = await FailoverWorld.make();
    world.unfit.set("beta", "its data is marked as being rewritten");
    await expect(run(world.ports(), await wishOf(world))).rejects.toMatchObject({ code: "FULA_FAILOVER_REFUSED" });
  });
});

test("where a loss was agreed to, a standby that is slow is waited for: its log may be longer", async () => {
  const world = await FailoverWorld.make(["beta", "gamma"], { syncSet: [], syncNeeded: 0 });
  dead(world, "alpha");
  world.box("gamma").lsn += 500n;
  world.box("gamma").acts = false;
  void world.clock.sleep(1_000).then(() => {
    world.box("gamma").acts = true;
  });
  const wish = await wishOf(world, { forced: true, allowedLoss: "0/1" });
  expect(await run(world.ports(), wish)).toMatchObject({ outcome: "done", primary: "gamma" });
});

describe("a switchover", () => {
  test("stops the old primary before the standbys detach, so that nothing of its log is missing", async () => {
    const world = await FailoverWorld.make();
    world.box("alpha").lsn += 500n;
    const report = await run(world.ports(), await wishOf(world, { kind: "switchover", to: "beta" }));
    expect(report).toMatchObject({ outcome: "done", primary: "beta" });
    expect(world.box("beta").lsn).toBe(world.box("alpha").lsn);
    expect(world.events.indexOf("step.verified:drainPrimary")).toBeLessThan(
      world.events.indexOf("step.verified:detachStandbys"),
    );
  });

  test("loses nothing either where the primary waited for nobody: it is promoted who has all of its log", async () => {
    const world = await FailoverWorld.make(["beta"], { syncSet: [], syncNeeded: 0 });
    world.box("alpha").lsn += 500n;
    const report = await run(world.ports(), await wishOf(world, { kind: "switchover", to: "beta" }));
    expect(report).toMatchObject({ outcome: "done", primary: "beta", loss: { lossless: true } });
  });

  test("is refused where the old primary does not answer: it could not hand its log over", async () => {
    const world = await FailoverWorld.make();
    dead(world, "alpha");
    await expect(run(world.ports(), await wishOf(world, { kind: "switchover", to: "beta" }))).rejects.toMatchObject({
      code: "FULA_FAILOVER_REFUSED",
    });
  });
});

describe("what was begun one way is ended another", () => {
  test("a switchover whose old primary crashes while it stops ends at once, and a failover goes on: its own box says that it is gone", async () => {
    const world = await FailoverWorld.make();
    Object.assign(world.box("alpha"), { orderly: false });
    const startMs = world.clock.monotonicMs();
    const wish = await wishOf(world, { kind: "switchover", to: "beta" });
    await expect(run(world.ports(), wish)).rejects.toMatchObject({
      code: "FULA_FAILOVER_STOPPED",
      message: expect.stringContaining("ended without order"),
      hint: expect.stringContaining("fula-master failover --fence"),
    });
    expect(world.clock.monotonicMs() - startMs).toBeLessThan(5_000);
    const old = await run(world.ports(), { ...wish, kind: "failover" });
    expect(old).toMatchObject({ outcome: "done", primary: "beta", run: { forced: false } });
    const proof = old.steps.find(({ action }) => action === "proveFence");
    expect(proof?.seen).toContain("ended without order, and stays down");
  });

  test("a switchover whose old primary dies while it stops is gone on with as a failover", async () => {
    const world = await FailoverWorld.make();
    world.box("alpha").acts = false;
    await expect(run(world.ports(), await wishOf(world, { kind: "switchover", to: "beta" }))).rejects.toMatchObject({
      code: "FULA_FAILOVER_STOPPED",
    });
    const wish = await wishOf(world, { replaces: { number: 1, uuid: world.first.uuid }, from: "alpha" });
    dead(world, "alpha");
    expect(await run(world.ports(), { ...wish, forced: true })).toMatchObject({ outcome: "done", primary: "beta" });
    expect(await world.epoch()).toMatchObject({ number: 2, phase: "open" });
  });

  test("a master that was given its right back and died before it took it can still be failed over from", async () => {
    const world = await FailoverWorld.make();
    world.box("alpha").acts = false;
    await expect(run(world.ports(), await wishOf(world))).rejects.toMatchObject({ code: "FULA_FENCE_UNPROVEN" });
    dead(world, "alpha");
    const wish = await wishOf(world, { replaces: { number: 1, uuid: world.first.uuid }, from: "alpha" });
    await run(world.ports(), wish, "abort");
    expect(await world.epoch()).toMatchObject({ number: 3, phase: "promoting", primary: "alpha" });
    expect(endedEpoch(await world.epoch())).toMatchObject({ number: 1, uuid: world.first.uuid });
    const report = await run(world.ports(), { ...wish, forced: true });
    expect(report).toMatchObject({ outcome: "done", primary: "beta", epoch: { number: 4 } });
  });
});

describe("two at once", () => {
  test("one is refused, and says who has the other", async () => {
    const world = await FailoverWorld.make();
    const wish = await wishOf(world);
    const other = { ...wish, node: "gamma", owner: "gamma, process 9" };
    const ends = await Promise.allSettled([run(world.ports(), wish), run(world.ports(), other)]);
    const refused = ends.filter((end) => end.status === "rejected");
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({ reason: { code: "FULA_FAILOVER_RUNNING" } });
    expect((await world.epoch()).number).toBe(2);
  });

  test("a process that was paused and taken over changes nothing any more", async () => {
    const world = await FailoverWorld.make();
    const wish = await wishOf(world);
    const ports = world.ports();
    const deps = { store: ports.store, clock: ports.clock, random: ports.random, signal: new AbortController().signal };
    await using paused = await beginRun(deps, wish, await ports.store.confirm("failover"));
    const seen = await ports.store.confirm("failover");
    const value = knownRun(seen.value);
    if (value === null) throw new Error("no run");
    await using second = await takeOverRun(deps, wish, { revision: seen.revision, value });
    expect(second.run.owner).toBe(wish.owner);
    await expect(executeRun(ports, paused, { wish: "go-on", signal: deps.signal, ...quiet })).rejects.toMatchObject({
      code: "FULA_FAILOVER_OVERTAKEN",
    });
    expect(await world.epoch()).toMatchObject({ number: 1, phase: "open" });
  });
});

describe("killed", () => {
  const killed = new Error("killed");

  async function count(kind: "failover" | "switchover"): Promise<{ readonly writes: number; readonly lines: number }> {
    const world = await FailoverWorld.make();
    const counted = { writes: 0, lines: 0 };
    const ports = world.ports({
      before: (operation) => {
        counted.writes += operation === "put" ? 1 : 0;
      },
      onJournal: () => {
        counted.lines += 1;
      },
    });
    await run(ports, await wishOf(world, { kind, to: "beta" }));
    return counted;
  }

  test.each(["failover", "switchover"] as const)(
    "before or after any write or journal line, a %s is completed by the next run, with one new epoch and one writer",
    async (kind) => {
      const { writes, lines } = await count(kind);
      expect(lines).toBeGreaterThan(20);
      for (const [where, times] of [
        ["write", writes],
        ["line", lines],
      ] as const) {
        for (let at = 1; at <= times; at += 1) {
          const world = await FailoverWorld.make();
          const wish = await wishOf(world, { kind, to: "beta" });
          let left = at;
          const strike = (): void => {
            left -= 1;
            if (left <= 0) throw killed;
          };
          const ports = world.ports({
            before: (operation) => {
              if (where === "write" && operation === "put") strike();
            },
            onJournal: () => {
              if (where === "line") strike();
            },
          });
          await expect(run(ports, wish), `${where} ${at}`).rejects.toBe(killed);
          const report = await run(world.ports(), wish);
          expect(report, `${where} ${at}`).toMatchObject({ outcome: "done", primary: "beta" });
          expect(await world.epoch(), `${where} ${at}`).toMatchObject({ number: 2, phase: "open" });
          expect(world.writers()).toEqual(["beta"]);
          expect(world.events.filter((event) => event === "promoted:beta")).toHaveLength(1);
        }
      }
    },
  );

  test("an answer of the control plane that is lost is found out, wherever it is", async () => {
    const world = await FailoverWorld.make();
    let writes = 0;
    const ports = world.ports({
      losesAnswer: () => {
        writes += 1;
        return writes % 2 === 1;
      },
    });
    expect(await run(ports, await wishOf(world))).toMatchObject({ outcome: "done", primary: "beta" });
    expect((await world.epoch()).number).toBe(2);
  });
});

describe("while the servers of the control plane elect", () => {
  const ELECTION_MS = 9_000;
  const silent = new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", "It has no leader.", {
    details: { silence: "no-quorum" },
  });

  /** What a run does where its `at`th question meets no leader, and none after it until one was elected. */
  async function runThrough(kind: "failover" | "switchover", at: number, answersLost: boolean): Promise<number> {
    const world = await FailoverWorld.make();
    let asked = 0;
    let electedMs = Number.POSITIVE_INFINITY;
    const isElecting = (): boolean => asked >= at && world.clock.monotonicMs() < electedMs;
    const before = (operation: string): void => {
      asked += 1;
      if (asked === at) electedMs = world.clock.monotonicMs() + ELECTION_MS;
      // A write may have been taken by the leader who is gone before it could say so.
      if (isElecting() && !(answersLost && operation === "put")) throw silent;
    };
    const losesAnswer = (): boolean => answersLost && isElecting();
    const ports = world.ports({ before, losesAnswer });
    const patience = { clock: world.clock, signal: new AbortController().signal, withinMs: 60_000 };
    const patient = { ...ports, store: patientLedgerStore(ports.store, patience) };
    const report = await run(patient, await wishOf(world, { kind, to: "beta" }));
    expect(report, `${kind} ${at}`).toMatchObject({ outcome: "done", primary: "beta", epoch: { number: 2 } });
    expect(world.writers()).toEqual(["beta"]);
    return asked;
  }

  test.each(["failover", "switchover"] as const)("a %s waits wherever that meets it, and is done", async (kind) => {
    const questions = await runThrough(kind, Number.POSITIVE_INFINITY, false);
    for (let at = 1; at <= questions; at += 1) {
      await runThrough(kind, at, false);
      await runThrough(kind, at, true);
    }
  });

  test("one that hears nothing for longer than others wait finds out whether somebody took its run", async () => {
    const world = await FailoverWorld.make();
    const ports = world.ports();
    const deps = { store: ports.store, clock: ports.clock, random: ports.random, signal: new AbortController().signal };
    let isSilent = false;
    const own = world.ledger.open({
      before: () => {
        if (isSilent) throw silent;
      },
    });
    await using keeper = await beginRun(
      { ...deps, store: own },
      await wishOf(world),
      await ports.store.confirm("failover"),
    );
    isSilent = true;
    await ports.clock.sleep(30_000);
    await expect(keeper.assertHeld()).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_UNREACHABLE" });
    isSilent = false;
    await keeper.assertHeld();
    await keeper.change({ step: "checked" });
    expect((await ports.store.get("failover")).value).toMatchObject({ step: "checked", state: "running" });
  });
});
