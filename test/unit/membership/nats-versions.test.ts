import { expect, test } from "vitest";
import { reasonsAgainst } from "../../../src/lib/membership/kv/versions.ts";

const RACES = /several writers/;
const STALE = /old revision/;
const LOSS = /streams are lost/;
const PEERS = /taking a server out/;

const CASES: readonly (readonly [version: string, reasons: readonly RegExp[]])[] = [
  ["2.15.2", []],
  ["2.12.3", []],
  ["v2.14.0", []],
  ["3.0.0", []],
  ["2.13.0-RC.1", []],
  ["2.12.3-RC.1", [PEERS]],
  ["2.12.2", [PEERS]],
  ["2.12.1", [PEERS]],
  ["2.11.99", [PEERS]],
  ["2.10.23", [PEERS]],
  ["2.10.22", [LOSS, PEERS]],
  ["2.10.19", [STALE, LOSS, PEERS]],
  ["2.9.25", [LOSS, PEERS]],
  ["2.9.21", [LOSS, PEERS]],
  ["2.9.10", [RACES, LOSS, PEERS]],
  ["1.4.1", [RACES, LOSS, PEERS]],
  ["main", [/does not tell its version/]],
  ["", [/does not tell its version/]],
];

test.each(CASES)("what speaks against nats-server %s is told, all of it and nothing else", (version, reasons) => {
  const found = reasonsAgainst(version);
  expect(found).toHaveLength(reasons.length);
  reasons.forEach((reason, index) => {
    expect(found[index]).toMatch(reason);
  });
});
