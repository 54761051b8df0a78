import { expect, test } from "vitest";
import { type Clock, systemClock } from "../../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../../src/lib/kernel/random.ts";
import { Budget } from "../../../../src/lib/membership/kv/budget.ts";
import { Operators } from "../../../../src/lib/membership/kv/operators.ts";
import type { Authorization, Operator } from "../../../../src/lib/membership/records.ts";
import { newOperator } from "../../../support/membership.ts";

const MAX_AGE_MS = 5_000;
const ADMIN = newOperator("system", "admin");
const REVOKED: Operator = { ...newOperator(`user:${"7".repeat(64)}`), status: "revoked" };
const ACTIVE: Operator = { ...REVOKED, status: "active" };

interface State {
  readonly revision: number;
  readonly operators: readonly Operator[];
}

/** Servers in the test's hands: one answers readings, another one, maybe, has the majority that writes. */
class Servers {
  answering: State;
  leading: State;
  reads = 0;
  stamps = 0;
  #wallMs = 0;
  #monotonicMs = 0;
  /** What the next stamp takes. */
  stampMs = 0;

  constructor(state: State) {
    this.answering = state;
    this.leading = state;
  }

  readonly clock: Clock = {
    nowMs: () => this.#wallMs,
    monotonicMs: () => this.#monotonicMs,
    sleep: async (_ms, signal) => await systemClock.sleep(1_000, signal),
  };

  pass(ms: number): void {
    this.#monotonicMs += ms;
  }

  setWallClock(ms: number): void {
    this.#wallMs = ms;
  }

  operators(): Operators {
    const bucket = {
      subject: (key: string) => key,
      get: async () => {
        this.reads += 1;
        const { revision, operators } = this.answering;
        return { key: "operators", revision, value: { operators }, deletedBy: 0 };
      },
      put: async () => null,
      publish: async (_budget: Budget, _key: string, _text: string, condition: { lastSubjectSequence: number }) => {
        this.stamps += 1;
        this.pass(this.stampMs);
        return condition.lastSubjectSequence === this.leading.revision ? 100 + this.stamps : null;
      },
    };
    const random = { ...systemRandom, int: () => 0 };
    const clock: Clock = {
      ...this.clock,
      sleep: async (ms, signal) => (ms === 0 ? undefined : await this.clock.sleep(ms, signal)),
    };
    return new Operators(bucket, { clock, random, maxAgeMs: MAX_AGE_MS });
  }

  async ask(operators: Operators, id: string = ADMIN.id): Promise<Authorization> {
    return await operators.isAuthorized(new Budget(this.clock, 2_000), id, "operator");
  }
}

test("one stamp vouches for many answers, until it is too old", async () => {
  const servers = new Servers({ revision: 4, operators: [ADMIN] });
  const operators = servers.operators();
  expect(await servers.ask(operators)).toMatchObject({ allowed: true, ageMs: 0 });
  servers.pass(MAX_AGE_MS);
  expect(await servers.ask(operators)).toMatchObject({ allowed: true, ageMs: MAX_AGE_MS });
  expect(servers.stamps).toBe(1);
  servers.pass(1);
  expect(await servers.ask(operators)).toMatchObject({ allowed: true, ageMs: 0 });
  expect(servers.stamps).toBe(2);
});

test("the age is counted from before the stamp was sent, and one that took too long vouches for nothing", async () => {
  const servers = new Servers({ revision: 4, operators: [ADMIN] });
  const operators = servers.operators();
  servers.stampMs = 300;
  expect(await servers.ask(operators)).toMatchObject({ allowed: true, ageMs: 300 });
  servers.pass(MAX_AGE_MS);
  servers.stampMs = MAX_AGE_MS + 1;
  expect(await servers.ask(operators)).toMatchObject({ allowed: false });
});

test("a server that missed a revocation and still answers lets nobody in", async () => {
  const servers = new Servers({ revision: 4, operators: [ADMIN, ACTIVE] });
  const operators = servers.operators();
  servers.leading = { revision: 9, operators: [ADMIN, REVOKED] };
  expect(await servers.ask(operators, ACTIVE.id)).toMatchObject({ allowed: false, reason: "stale" });
  servers.answering = servers.leading;
  expect(await servers.ask(operators, ACTIVE.id)).toMatchObject({ allowed: false, reason: "revoked" });
});

test("a stamp vouches for the state that it was written for, not for an older one that a server still has", async () => {
  const servers = new Servers({ revision: 9, operators: [ADMIN, REVOKED] });
  const operators = servers.operators();
  expect(await servers.ask(operators)).toMatchObject({ allowed: true });
  servers.answering = { revision: 4, operators: [ADMIN, ACTIVE] };
  expect(await servers.ask(operators, ACTIVE.id)).toMatchObject({ allowed: false, reason: "stale" });
});

test("a revocation counts from the first reading that shows it, however fresh the stamp of the state before is", async () => {
  const servers = new Servers({ revision: 4, operators: [ADMIN, ACTIVE] });
  const operators = servers.operators();
  expect(await servers.ask(operators, ACTIVE.id)).toMatchObject({ allowed: true });
  servers.leading = { revision: 9, operators: [ADMIN, REVOKED] };
  servers.answering = servers.leading;
  expect(await servers.ask(operators, ACTIVE.id)).toMatchObject({ allowed: false, reason: "revoked" });
});

test("a wall clock that is set back makes no stamp last longer", async () => {
  const servers = new Servers({ revision: 4, operators: [ADMIN] });
  const operators = servers.operators();
  await servers.ask(operators);
  servers.setWallClock(-86_400_000);
  servers.pass(1_000);
  expect(await servers.ask(operators)).toMatchObject({ allowed: true, ageMs: 1_000 });
  servers.pass(MAX_AGE_MS);
  expect(await servers.ask(operators)).toMatchObject({ allowed: true, ageMs: 0 });
  expect(servers.stamps).toBe(2);
});

test("a stamp does not outlive the sleep of the machine, which only the wall clock shows", async () => {
  const servers = new Servers({ revision: 4, operators: [ADMIN, ACTIVE] });
  const operators = servers.operators();
  expect(await servers.ask(operators, ACTIVE.id)).toMatchObject({ allowed: true });
  servers.leading = { revision: 9, operators: [ADMIN, REVOKED] };
  servers.setWallClock(86_400_000);
  expect(await servers.ask(operators, ACTIVE.id)).toMatchObject({ allowed: false, reason: "stale" });
});

test("those who ask at the same time share readings and a stamp", async () => {
  const servers = new Servers({ revision: 4, operators: [ADMIN] });
  const operators = servers.operators();
  const answers = await Promise.all(Array.from({ length: 50 }, async () => await servers.ask(operators)));
  expect(answers.every(({ allowed }) => allowed)).toBe(true);
  expect(servers.stamps).toBe(1);
  expect(servers.reads).toBeLessThan(10);
});
