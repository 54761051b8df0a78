import { expect, test } from "vitest";
import { describeExport, parseExport, renderExport } from "../../../src/lib/membership/export-document.ts";
import type { MembershipSnapshot } from "../../../src/lib/membership/records.ts";

const SINCE = "2026-11-20T03:00:00.000Z";
const STATE: MembershipSnapshot = {
  format: 1,
  pools: [],
  members: [],
  sealedKeys: [],
  operators: [{ id: "system", role: "operator", status: "active", name: "Ärger – 日本", createdAt: SINCE }],
};
const document = describeExport(STATE, { exportedAt: SINCE, exportedBy: "master-1" });

test("an export is read as it was written", () => {
  expect(parseExport(renderExport(document), "a.json")).toEqual(document);
});

test("two exports of one state have the same digest, whoever wrote them and when", () => {
  const later = describeExport(STATE, { exportedAt: "2026-11-21T03:00:00.000Z", exportedBy: "master-2" });
  expect(later.sha256).toBe(document.sha256);
});

test.each([
  ["text that is no JSON", "pools: []"],
  ["another document", '{"kind": "something"}'],
  ["one that was changed by hand", renderExport(document).replace('"operator"', '"admin"')],
  ["one that was cut off", renderExport(document).slice(0, -40)],
  ["one with a field beside", `${renderExport(document).slice(0, -3)}, "more": 1 }`],
])("%s is refused", (_, text) => {
  expect(() => parseExport(text, "a.json")).toThrow(expect.objectContaining({ code: "FULA_MEMBERSHIP_INVALID" }));
});

test("a snapshot that contradicts itself is refused although its digest is right", () => {
  const endpoint = `x25519:${"ab".repeat(32)}`;
  const members = [{ pool: "gone", endpoint, name: "a", role: "member" as const, joinedAt: SINCE, appliedEpoch: 0 }];
  const text = renderExport(describeExport({ ...STATE, members }, document));
  expect(() => parseExport(text, "a.json")).toThrow(/not the pool/);
});

test("a format of a later version is refused as such", () => {
  const text = renderExport(document).replace('"format": 1', '"format": 2');
  expect(() => parseExport(text, "a.json")).toThrow(expect.objectContaining({ code: "FULA_STATE_NEWER" }));
});
