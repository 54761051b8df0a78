import { expect, test } from "vitest";
import { standbyRole, standbySlot } from "../../../src/lib/recovery/postgres/standby-names.ts";
import { FLOOR_SLOT } from "../../../src/lib/recovery/postgres/slots.ts";
import { ADMIN_ROLE } from "../../../src/lib/runtime/postgres-cluster.ts";
import { renderHba, renderIdent } from "../../../src/lib/runtime/postgres-files.ts";

const REMOTE = { standbys: [{ node: "master-2", role: "fula_master_2" }], database: "ledger", admin: "fula_admin" };

function lines(text: string): readonly string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

test("a server that no other box reaches lets in nobody but its own box, with passwords", () => {
  expect(lines(renderHba("processes", null))).toEqual(["host all,replication all 127.0.0.1/32 scram-sha-256"]);
  expect(lines(renderHba("container", null)).every((line) => !line.includes("0.0.0.0"))).toBe(true);
});

test("another box's role is let in by its certificate alone, before any line that a password would open", () => {
  const [own, role, reject, ...rest] = lines(renderHba("processes", REMOTE));
  expect(own).toBe('hostssl all "fula_admin" 127.0.0.1/32 cert map=fula');
  expect(role).toBe('hostssl replication,postgres,"ledger" "fula_master_2" all cert map=fula');
  expect(reject).toBe('host all "fula_master_2" all reject');
  expect(rest.at(-1)).toBe("hostssl all all all scram-sha-256");
  expect(rest.some((line) => line.startsWith("host all all all"))).toBe(false);
  expect(lines(renderHba("container", REMOTE)).some((line) => line.includes("fula_admin"))).toBe(false);
});

test("a certificate opens the role of the box that it names, and no other", () => {
  expect(lines(renderIdent(REMOTE.standbys))).toEqual(['fula "master-2" "fula_master_2"']);
});

test("no two boxes become the same role or slot, and each is a name that PostgreSQL takes", () => {
  const nodes = ["a-b", "a_b", "a.b", "A-B", "a-B", "a--b", "1", "x".repeat(63), `${"x".repeat(62)}y`];
  for (const name of [standbyRole, standbySlot]) {
    const names = nodes.map(name);
    expect(new Set(names).size).toBe(nodes.length);
    for (const each of names) expect(each).toMatch(/^fula_[a-z0-9_]{1,58}$/);
  }
  expect(standbySlot("master-2")).toBe("fula_master_2");
});

test("no box becomes the server's superuser, or the slot of something else, by what it is called", () => {
  for (const node of ["admin", "floor", "archive"]) {
    expect(standbyRole(node)).toMatch(new RegExp(`^fula_${node}_[0-9a-f]{8}$`));
    expect(standbySlot(node)).not.toBe(`fula_${node}`);
  }
  expect([ADMIN_ROLE, FLOOR_SLOT]).toEqual(["fula_admin", "fula_floor"]);
});
