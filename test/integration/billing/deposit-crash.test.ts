/* oxlint-disable typescript/no-unsafe-type-assertion, promise/no-callback-in-promise -- pg is taken apart to kill its connection */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PoolClient } from "pg";
import { createPool, type Pool } from "../../../src/lib/postgres/pool.ts";
import { addressOf, Anvil } from "../../support/anvil.ts";
import { ScanBox } from "../../support/scan-box.ts";
import { until } from "../../support/until.ts";
import { userId } from "./ledger.ts";

let anvil: Anvil;

beforeAll(async () => {
  anvil = await Anvil.start();
});

afterAll(async () => {
  await anvil[Symbol.asyncDispose]();
});

const ADA = userId("ada");
const WALLET = addressOf(1);

/** What is cut off at the k-th statement: before it is sent, or when its answer would come. */
interface Cut {
  readonly at: number;
  readonly when: "before" | "after";
}

/** A pool whose process dies at one statement: that connection is gone, and nothing is sent any more. */
function dyingPool(box: ScanBox, cut: Cut): { readonly pool: Pool; readonly died: () => boolean } {
  const pool = createPool({ ...box.database.options, part: "dying" });
  let statements = 0;
  const isDead = (): boolean => statements > cut.at;
  const die = async (client: PoolClient): Promise<never> => {
    statements = cut.at + 1;
    const closed = new Promise((resolve) => client.once("end", resolve));
    // The socket itself: a process that is killed says no goodbye.
    (client as unknown as { connection: { stream: { destroy: () => void } } }).connection.stream.destroy();
    await closed;
    throw new Error("the process died");
  };
  pool.on("connect", (client) => {
    const send = client.query.bind(client) as (...args: readonly unknown[]) => Promise<unknown>;
    const query = async (...args: readonly unknown[]): Promise<unknown> => {
      if (isDead()) throw new Error("the process is dead");
      statements += 1;
      const isNow = statements === cut.at;
      if (isNow && cut.when === "before") return await die(client);
      const answer = await send(...args);
      return isNow ? await die(client) : answer;
    };
    Object.assign(client, {
      query: (...args: readonly unknown[]) => {
        const callback = args.at(-1);
        // pg-pool hands its own callback on.
        if (typeof callback !== "function") return query(...args);
        const done = callback as (error: unknown, answer?: unknown) => void;
        void query(...args.slice(0, -1)).then(
          (answer) => done(null, answer),
          (error: unknown) => done(error),
        );
        return undefined;
      },
    });
  });
  return { pool, died: isDead };
}

describe("a scanner that dies at any statement of a deposit", () => {
  test.each(["before", "after"] as const)("%s it is done has each deposit credited once", async (when) => {
    await using box = await ScanBox.open(anvil);
    await box.link(ADA, WALLET);
    let at = 0;
    for (let isCut = true; isCut; ) {
      at += 1;
      await box.pay(box.move(WALLET, 3n), box.move(WALLET, 4n));
      await anvil.mine(4);
      const { pool, died } = dyingPool(box, { at, when });
      await box.scan({ pool }).catch(() => {});
      isCut = died();
      await pool.end();
      await until("the server has noticed that the connection is gone", async () => {
        const { rows } = await box.database.pool.query(
          "select from pg_stat_activity where application_name like 'fula-master/dying@%' and datname = current_database()",
        );
        return rows.length === 0;
      });
      const { state } = await box.scan();
      expect([at, state, await box.balance(ADA)]).toEqual([at, "ok", String(7 * at)]);
    }
    expect(at).toBeGreaterThan(15);
  });
});
