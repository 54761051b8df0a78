import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { BucketName, BucketState } from "../../../../src/lib/buckets/roots/root-pointer.ts";
import { RootReader } from "../../../../src/lib/buckets/roots/root-reader.ts";
import { FulaError } from "../../../../src/lib/kernel/errors.ts";
import { bucketNamed, deletionOf, moveTo, rootCid } from "../../../support/bucket-moves.ts";
import { ManualClock } from "../../../support/manual-clock.ts";
import { MemoryRoots } from "../../../support/memory-roots.ts";
import { property } from "../../../support/property.ts";

type Answer = readonly (BucketState | FulaError | null)[];

/** An arbiter whose answers come when the test says so: read when the question comes, or at the end, as it likes. */
class ScriptedRoots extends MemoryRoots {
  readonly questions: { readonly names: readonly BucketName[]; readonly done: PromiseWithResolvers<Answer> }[] = [];
  asked = 0;

  override async getMany(names: readonly BucketName[]): Promise<readonly (BucketState | null)[]> {
    const done = Promise.withResolvers<Answer>();
    this.asked += 1;
    this.questions.push({ names, done });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- errors in place of a state are the reader's business
    return (await done.promise) as readonly (BucketState | null)[];
  }

  /** Answers the question that waits longest with what is true now. */
  async answer(): Promise<void> {
    const question = this.questions.shift();
    question?.done.resolve(await super.getMany(question.names));
    await settle();
  }

  async fail(error: Error = outage()): Promise<void> {
    this.questions.shift()?.done.reject(error);
    await settle();
  }
}

function outage(): FulaError {
  return new FulaError("FULA_DATABASE_UNREACHABLE", "PostgreSQL does not answer.");
}

/** Lets everything that can go on without an answer do so. */
async function settle(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setImmediate(resolve);
  await promise;
}

interface Box {
  readonly roots: ScriptedRoots;
  readonly clock: ManualClock;
  readonly reader: RootReader;
  readonly events: string[];
}

function box(): Box {
  const clock = new ManualClock();
  const roots = new ScriptedRoots(clock);
  const events: string[] = [];
  const reader = new RootReader({
    store: roots,
    clock,
    timeoutMs: 2_000,
    staleMs: 3_600_000,
    onQuery: (outcome, buckets) => events.push(`${outcome} ${buckets}`),
    onStale: () => events.push("stale"),
  });
  return { roots, clock, reader, events };
}

const photos = bucketNamed("photos");

async function moved(roots: MemoryRoots, name = photos, root = rootCid(1)): Promise<BucketState> {
  const state = await roots.get(name);
  await roots.cas(name, moveTo(state, root));
  const now = await roots.get(name);
  if (now === null) throw new Error("the bucket was not made");
  return now;
}

describe("a reader of roots", () => {
  test("asks once for all who come while a question is on its way, and for each bucket once", async () => {
    const { roots, reader, events } = box();
    const state = await moved(roots);
    const first = reader.read(photos);
    const others = Array.from({ length: 50 }, async (_, index) => await reader.read(bucketNamed(`b-${index % 3}`)));
    const again = reader.read(photos);
    expect(roots.questions).toHaveLength(1);
    await roots.answer();
    expect(await first).toEqual({ state, staleMs: null });
    expect(roots.questions.map(({ names }) => names.length)).toEqual([4]);
    await roots.answer();
    expect(await again).toEqual({ state, staleMs: null });
    expect(await Promise.all(others)).toEqual(others.map(() => ({ state: null, staleMs: null })));
    expect(events).toEqual(["answered 1", "answered 4"]);
  });

  test("joins no question that was sent before it came: what was saved in between is seen", async () => {
    const { roots, reader } = box();
    const old = await moved(roots);
    const early = reader.read(photos);
    const [question] = roots.questions;
    const answer = await MemoryRoots.prototype.getMany.call(roots, [photos]);
    const state = await moved(roots, photos, rootCid(2));
    const late = reader.read(photos);
    question?.done.resolve(answer);
    await settle();
    roots.questions.shift();
    expect((await early).state).toEqual(old);
    await roots.answer();
    expect((await late).state).toEqual(state);
  });

  test("gives what was true at some moment of the call, whatever comes in between", async () => {
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant("read" as const), bucket: fc.nat(2) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("move" as const), bucket: fc.nat(2) }) },
      { weight: 2, arbitrary: fc.record({ kind: fc.constant("look" as const), bucket: fc.nat(2) }) },
      { weight: 3, arbitrary: fc.record({ kind: fc.constant("answer" as const), bucket: fc.nat(2) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60 }), async (steps) => {
        const { roots, reader } = box();
        // What each bucket was after every step: version, or 0 for none.
        const versions: Map<number, bigint>[] = [];
        const present = new Map<number, bigint>();
        const calls: { bucket: number; from: number; to: number; version: bigint }[] = [];
        const running: Promise<void>[] = [];
        let looked: Answer | null = null;
        const next = async (): Promise<void> => {
          const question = roots.questions.shift();
          question?.done.resolve(looked ?? (await MemoryRoots.prototype.getMany.call(roots, question.names)));
          looked = null;
          await settle();
        };
        for (const { kind, bucket } of steps) {
          const name = bucketNamed(`b-${bucket}`);
          versions.push(new Map(present));
          if (kind === "move") {
            present.set(bucket, (await moved(roots, name, rootCid(versions.length))).version);
            versions.push(new Map(present));
          } else if (kind === "read") {
            const from = versions.length - 1;
            running.push(
              reader.read(name).then(({ state, staleMs }) => {
                expect(staleMs).toBeNull();
                calls.push({ bucket, from, to: versions.length, version: state?.version ?? 0n });
              }),
            );
            await settle();
          } else if (kind === "look") {
            // The server reads now, and its answer comes later.
            const names = roots.questions[0]?.names;
            if (names !== undefined) looked ??= await MemoryRoots.prototype.getMany.call(roots, names);
          } else await next();
          expect(roots.questions.length).toBeLessThanOrEqual(1);
        }
        while (roots.questions.length > 0) await next();
        await Promise.all(running);
        versions.push(new Map(present));
        for (const { bucket, from, to, version } of calls) {
          const seen = versions.slice(from, to + 1).map((each) => each.get(bucket) ?? 0n);
          expect(seen).toContain(version);
        }
      }),
      property(100),
    );
  });

  test("gives what the arbiter said last while it does not answer, with its age", async () => {
    const { roots, clock, reader, events } = box();
    const state = await moved(roots);
    const first = reader.read(photos);
    await roots.answer();
    await first;
    await clock.step(60_000);
    const stale = reader.read(photos);
    await roots.fail();
    expect(await stale).toEqual({ state, staleMs: 60_000 });
    expect(events).toEqual(["answered 1", "failed 1", "stale"]);
  });

  test("is not kept waiting by an arbiter that hangs, and asks it nothing more until it has answered", async () => {
    const { roots, clock, reader } = box();
    const state = await moved(roots);
    const first = reader.read(photos);
    await roots.answer();
    await first;
    const reads = [reader.read(photos), reader.read(photos)];
    await settle();
    await clock.step(2_000);
    expect(await Promise.all(reads)).toEqual([
      { state, staleMs: 2_000 },
      { state, staleMs: 2_000 },
    ]);
    expect(roots.asked).toBe(2);
    const unknown = expect(reader.read(bucketNamed("other"))).rejects.toMatchObject({
      code: "FULA_DATABASE_UNREACHABLE",
    });
    await settle();
    await clock.step(2_000);
    await unknown;
    await roots.fail();
    // Those who have gone on by then are not asked for.
    expect(roots.asked).toBe(2);
  });

  test("gives nothing that is not known, and nothing once the arbiter has been silent for too long", async () => {
    const { roots, clock, reader } = box();
    await moved(roots);
    const first = reader.read(photos);
    await roots.answer();
    await first;
    // Nobody asked for hours; that is no silence.
    await clock.step(7_200_000);
    for (const [waitMs, isGiven] of [
      [0, true],
      [3_600_000, true],
      [1, false],
    ] as const) {
      await clock.step(waitMs);
      const read = reader.read(photos).then(
        () => true,
        () => false,
      );
      await roots.fail();
      expect([waitMs, await read]).toEqual([waitMs, isGiven]);
    }
    const back = reader.read(photos);
    await roots.answer();
    expect((await back).staleMs).toBeNull();
  });

  test("whoever wants to write is given nothing old", async () => {
    const { roots, reader } = box();
    await moved(roots);
    const first = reader.read(photos);
    await roots.answer();
    await first;
    const refused = expect(reader.current(photos)).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
    await roots.fail();
    await refused;
  });

  test("knows what was saved through it, also where nobody has read it since", async () => {
    const { roots, clock, reader } = box();
    const store = reader.noting(roots);
    await store.cas(photos, moveTo(null, rootCid(1)));
    const first = await roots.get(photos);
    if (first === null) throw new Error("the bucket was not made");
    await store.cas(photos, moveTo(first, rootCid(2), { objects: 0 }));
    await clock.step(500);
    const stale = reader.read(photos);
    await roots.fail();
    expect(await stale).toEqual({ state: await roots.get(photos), staleMs: 500 });
    const second = await roots.get(photos);
    if (second === null) throw new Error("the bucket is gone");
    await store.cas(photos, deletionOf(second));
    const refused = expect(reader.read(photos)).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
    await roots.fail();
    await refused;
  });

  test("a bucket that alone cannot be told fails for those who asked for it, and for nobody else", async () => {
    const { roots, reader } = box();
    const state = await moved(roots);
    const warm = reader.read(bucketNamed("warm"));
    const [fleet, ours] = [reader.read(bucketNamed("fleet")), reader.read(photos)];
    await roots.answer();
    await warm;
    const refused = expect(fleet).rejects.toMatchObject({ code: "FULA_BUCKET_NOT_IMPORTED" });
    roots.questions.shift()?.done.resolve([new FulaError("FULA_BUCKET_NOT_IMPORTED", "Not yet."), state]);
    await refused;
    expect(await ours).toEqual({ state, staleMs: null });
  });

  test("an owner's list is given as it was while the arbiter does not answer", async () => {
    const { roots, clock, reader } = box();
    const state = await moved(roots);
    expect(await reader.list(photos.ownerId)).toEqual({ buckets: [state], staleMs: null });
    await clock.step(1_000);
    roots.list = async () => await Promise.reject(outage());
    expect(await reader.list(photos.ownerId)).toEqual({ buckets: [state], staleMs: 1_000 });
    await expect(reader.list(bucketNamed("", 2).ownerId)).rejects.toMatchObject({ code: "FULA_DATABASE_UNREACHABLE" });
  });
});
