import fc from "fast-check";
import { expect, test } from "vitest";
import { hourlyFee } from "../../../src/lib/billing/fee.ts";
import { formatUnits, parseUnits } from "../../../src/lib/billing/money.ts";
import { property } from "../../support/property.ts";
import { freshDatabase } from "../../support/postgres.ts";

/** Sizes that come out at half a unit at a price of 3: odd multiples of 98,304 bytes. */
const halves = fc.bigInt({ min: 0n, max: 10n ** 9n }).map((n) => ({
  bytes: 98_304n * (2n * n + 1n),
  freeTierBytes: 0n,
  fulaPerGibMonth: parseUnits("3"),
}));
const anything = fc.record({
  bytes: fc.bigInt({ min: 0n, max: 2n ** 56n }),
  freeTierBytes: fc.oneof(fc.constant(524_288_000n), fc.bigInt({ min: 0n, max: 2n ** 56n })),
  fulaPerGibMonth: fc.oneof(fc.constant(parseUnits("3")), fc.bigInt({ min: 0n, max: 10n ** 24n })),
});

test("hourly_fee of the ledger gives what hourlyFee gives, to the last unit, halves included", async () => {
  await using database = await freshDatabase();
  const cases = fc.array(fc.oneof(anything, halves), { minLength: 500, maxLength: 500, size: "max" });
  await fc.assert(
    fc.asyncProperty(cases, async (wanted) => {
      const { rows } = await database.pool.query<{ fee: string }>(
        `select hourly_fee(b, f, p)::numeric(38, 18) as fee
           from unnest($1::bigint[], $2::bigint[], $3::numeric[]) with ordinality as t (b, f, p, n) order by n`,
        [
          wanted.map(({ bytes }) => bytes.toString()),
          wanted.map(({ freeTierBytes }) => freeTierBytes.toString()),
          wanted.map(({ fulaPerGibMonth }) => formatUnits(fulaPerGibMonth)),
        ],
      );
      expect(rows.map(({ fee }) => parseUnits(fee))).toEqual(wanted.map((one) => hourlyFee(one.bytes, one)));
    }),
    property(10),
  );
});
