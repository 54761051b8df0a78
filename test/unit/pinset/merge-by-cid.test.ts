import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mergeByCid } from "../../../src/lib/pinset/merge-by-cid.ts";
import { collect } from "../../support/pins.ts";
import { property } from "../../support/property.ts";

interface Item {
  readonly cid: string;
}

async function* stream(cids: readonly string[]): AsyncGenerator<Item> {
  for (const cid of cids) yield { cid };
}

function list(name: string, cids: readonly string[]): { readonly name: string; readonly items: AsyncIterable<Item> } {
  return { name, items: stream(cids) };
}

const anyList = (): fc.Arbitrary<string[]> =>
  fc
    .uniqueArray(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 3 }))
    .map((cids) => cids.toSorted());

describe("merging three lists", () => {
  test("gives every CID once, in order, with what each list has", async () => {
    await fc.assert(
      fc.asyncProperty(anyList(), anyList(), anyList(), async (a, b, c) => {
        const merged = await collect(mergeByCid(list("a", a), list("b", b), list("c", c)));
        expect(merged.map(({ cid }) => cid)).toEqual([...new Set([...a, ...b, ...c])].toSorted());
        for (const { cid, first, second, third } of merged) {
          expect([first?.cid, second?.cid, third?.cid]).toEqual(
            [a, b, c].map((cids) => (cids.includes(cid) ? cid : undefined)),
          );
        }
      }),
      property(),
    );
  });

  test("refuses a list that is not in order, and closes the others", async () => {
    const merged = mergeByCid(list("pins", ["a", "c", "b"]), list("statuses", ["a"]), list("ledger", []));
    await expect(collect(merged)).rejects.toThrow("the list of pins is not in order: b after c");
  });
});
