import { describe, expect, test } from "vitest";
import { KeptSession } from "../../../src/lib/postgres/kept-session.ts";
import type { Session } from "../../../src/lib/postgres/session.ts";

/** Connections by number; each tells it, until it is one that has fallen silent. */
class Line {
  readonly silent = new Set<number>();
  readonly ended: number[] = [];
  opened = 0;
  readonly kept = new KeptSession(async () => this.#open());

  /** Asks for the connection's number. */
  async ask(signal = new AbortController().signal, isTold?: (answer: number) => boolean): Promise<number> {
    const over = async (): Promise<number> => {
      const session = await this.kept.connect();
      const { rows } = await session.query<{ number: number }>({ name: "", text: "", values: [] });
      return rows[0]?.number ?? 0;
    };
    return await this.kept.ask(over, signal, isTold);
  }

  #open(): Session {
    this.opened += 1;
    const number = this.opened;
    const query = async (): Promise<{ readonly rows: readonly unknown[] }> => {
      if (this.silent.has(number)) throw new Error(`connection ${number} is silent`);
      return { rows: [{ number }] };
    };
    const lost = new AbortController().signal;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what is asked of it is here
    return { lost, query, [Symbol.asyncDispose]: async () => void this.ended.push(number) } as unknown as Session;
  }
}

describe("a connection that is kept", () => {
  test("is asked again and again", async () => {
    const line = new Line();
    expect([await line.ask(), await line.ask(), await line.ask()]).toEqual([1, 1, 1]);
    expect(line.ended).toEqual([]);
  });

  test("is replaced where it tells nothing any more, and by one that is asked once", async () => {
    const line = new Line();
    await line.ask();
    line.silent.add(1);
    expect(await line.ask()).toBe(2);
    line.silent.add(2).add(3);
    await expect(line.ask()).rejects.toThrow("connection 3 is silent");
    expect(line.ended).toEqual([1, 2, 3]);
    expect(await line.ask()).toBe(4);
  });

  test("is replaced where its answer is none", async () => {
    const line = new Line();
    const isTold = (answer: number): boolean => answer > 1;
    expect(await line.ask(undefined, isTold)).toBe(1);
    expect(await line.ask(undefined, isTold)).toBe(2);
    expect(await line.ask(undefined, (answer) => answer > 2)).toBe(3);
  });

  test("is not replaced for somebody who does not want to know any more", async () => {
    const line = new Line();
    await line.ask();
    line.silent.add(1);
    await expect(line.ask(AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
    expect(line.opened).toBe(1);
  });
});
