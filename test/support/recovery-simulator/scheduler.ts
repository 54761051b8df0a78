import type { Random } from "../../../src/lib/kernel/random.ts";

/** What a schedule throws where it lets something fail. */
class InjectedFault extends Error {
  override readonly name = "InjectedFault";
}

/** Decides who goes on next: whatever waits in the simulation waits here, and nowhere else. */
export class Scheduler {
  /** In a thousand. */
  faultRate = 0;
  steps = 0;
  readonly #random: Random;
  readonly #trace: (line: () => string) => void;
  #waiting: { readonly name: string; readonly resume: () => void }[] = [];

  constructor(random: Random, trace: (line: () => string) => void) {
    this.#random = random;
    this.#trace = trace;
  }

  get isIdle(): boolean {
    return this.#waiting.length === 0;
  }

  /** Waits for its turn, and then may fail. */
  async point(name: string): Promise<void> {
    await new Promise<void>((resume) => {
      this.#waiting.push({ name, resume });
    });
    if (this.faultRate > 0 && this.#random.int(1_000) < this.faultRate) {
      this.#trace(() => `fault at ${name}`);
      throw new InjectedFault(`injected at ${name}`);
    }
  }

  /** Waits for its turn, and does not fail. */
  async turn(): Promise<void> {
    await new Promise<void>((resume) => {
      this.#waiting.push({ name: "turn", resume });
    });
  }

  /** Lets one go on, and everything happen that follows from it. */
  async step(): Promise<void> {
    const [next] = this.#waiting.splice(this.#random.int(this.#waiting.length), 1);
    if (next !== undefined) {
      this.#trace(() => `step ${next.name}`);
      this.steps += 1;
      next.resume();
    }
    await drain();
  }

  /** Who waits never goes on: their process died. */
  kill(): void {
    this.#waiting = [];
  }
}

/** Lets all promises settle that can. */
export async function drain(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
