import { expect, test } from "vitest";
import { nearest } from "../../../src/lib/kernel/nearest.ts";

const WORDS = ["join", "join-as-master", "snapshot", "restore", "verify", "status", "stop"];

test.each([
  ["snapsot", "snapshot"],
  ["snap", "snapshot"],
  ["VERIFY", "verify"],
  ["jion", "join"],
  ["stat", "status"],
  ["stpo", "stop"],
  ["join-as-maste", "join-as-master"],
])("%s means %s", (typed, meant) => {
  expect(nearest(typed, WORDS)).toBe(meant);
});

test.each(["", "x", "postgres", "--json"])("nothing is meant by %j", (typed) => {
  expect(nearest(typed, WORDS)).toBeNull();
});

test("without candidates nothing is near", () => {
  expect(nearest("join", [])).toBeNull();
});
