import { expect, test } from "vitest";
import { concurrentIndexOf, droppedIndexOf } from "../../../src/lib/postgres/index-health.ts";

test.each<readonly [string, string | null]>([
  ["create unique index concurrently if not exists idx_a on t (x)", "idx_a"],
  ["CREATE INDEX CONCURRENTLY\n  Idx_B -- why\n  ON t (x)", "idx_b"],
  ['create index concurrently "Mixed ""Case" on t (x)', 'Mixed "Case'],
  ["create index idx_a on t (x)", null],
  ["select 'create index concurrently idx_a on t'", null],
  ["do $$ begin execute 'create index concurrently idx_a on t (x)'; end $$", null],
])("the index that %j builds concurrently is %s", (statement, index) => {
  expect(concurrentIndexOf(statement)).toBe(index);
});

test.each<readonly [string, string | null]>([
  ["drop index concurrently if exists idx_a", "idx_a"],
  ["drop index public.idx_a", "idx_a"],
  ["drop table idx_a", null],
])("the index that %j drops is %s", (statement, index) => {
  expect(droppedIndexOf(statement)).toBe(index);
});
