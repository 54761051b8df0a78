import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Migration } from "../../../src/lib/postgres/migration-files.ts";
import type { AppliedMigration } from "../../../src/lib/postgres/migration-history.ts";
import { planDown, planUp } from "../../../src/lib/postgres/migration-plan.ts";
import { compareHistory } from "../../../src/lib/postgres/migration-status.ts";
import { property } from "../../support/property.ts";

function migration(version: number, changes: Partial<Migration> = {}): Migration {
  const script = { fileName: `${version}.sql`, statements: [], transactional: true };
  return {
    version,
    name: `m${version}`,
    up: script,
    checksum: `sum-${version}`,
    breaking: false,
    baseline: false,
    down: script,
    guard: null,
    probe: null,
    ...changes,
  };
}

function row(version: number, changes: Partial<AppliedMigration> = {}): AppliedMigration {
  return {
    version,
    name: `m${version}`,
    checksum: `sum-${version}`,
    appliedAt: "2026-11-20T03:00:00.000Z",
    durationMs: 1,
    toolVersion: "2.4.0",
    how: "applied",
    breaking: false,
    ...changes,
  };
}

const FILES = [1, 18, 19, 20].map((version) => migration(version));

function versions(list: readonly { readonly version: number }[]): readonly number[] {
  return list.map(({ version }) => version);
}

describe("planning up", () => {
  test("takes what is not in effect, in order", () => {
    expect(versions(planUp(FILES, [row(1)]).pending)).toEqual([18, 19, 20]);
  });

  test("fills a gap below what is in effect: an adopted database may have 019 and not 018", () => {
    expect(versions(planUp(FILES, [row(1), row(19, { how: "adopted" })]).pending)).toEqual([18, 20]);
  });

  test("stops at --to, and refuses one that is not there", () => {
    expect(versions(planUp(FILES, [], 18).pending)).toEqual([1, 18]);
    expect(() => planUp(FILES, [], 2)).toThrow(expect.objectContaining({ code: "FULA_USAGE" }));
  });

  test("refuses a changed file and names both checksums", () => {
    expect(() => planUp(FILES, [row(18, { checksum: "other" })])).toThrow(
      expect.objectContaining({
        code: "FULA_MIGRATION_CHANGED",
        details: { changed: [{ version: 18, name: "m18", appliedChecksum: "other", fileChecksum: "sum-18" }] },
      }),
    );
  });

  test("refuses a database that a newer, breaking migration has been applied to", () => {
    expect(() => planUp(FILES, [row(31, { breaking: true })])).toThrow(
      expect.objectContaining({
        code: "FULA_SCHEMA_NEWER",
        message: "The database is at migration 031 (breaking); this build knows up to 020. Nothing was changed.",
        hint: expect.stringContaining("2.4.0"),
      }),
    );
  });

  test("goes on beside a newer, compatible migration and says so", () => {
    expect(versions(planUp(FILES, [row(1), row(31)]).newer)).toEqual([31]);
  });

  test("refuses when a file below the newest is missing", () => {
    expect(() => planUp(FILES, [row(17)])).toThrow(expect.objectContaining({ code: "FULA_MIGRATION_MISSING" }));
  });

  test("never plans what is in effect, and always in growing order", () => {
    fc.assert(
      fc.property(fc.subarray(FILES), fc.subarray(FILES), (files, applied) => {
        const history = applied.filter(({ version }) => files.some((file) => file.version === version));
        const pending = versions(
          planUp(
            files,
            history.map(({ version }) => row(version)),
          ).pending,
        );
        expect(pending).toEqual(versions(files).filter((version) => !versions(history).includes(version)));
      }),
      property(),
    );
  });
});

describe("planning down", () => {
  test("reverts the newest alone where no version is named", () => {
    expect(versions(planDown(FILES, [row(1), row(18), row(19)]))).toEqual([19]);
  });

  test("reverts everything above a version, newest first; 0 leaves nothing", () => {
    expect(versions(planDown(FILES, [row(1), row(18), row(19)], 1))).toEqual([19, 18]);
    expect(versions(planDown(FILES, [row(1), row(18)], 0))).toEqual([18, 1]);
  });

  test("refuses before anything when one of them has no down file", () => {
    const files = [migration(1), migration(18, { down: null }), migration(19)];
    expect(() => planDown(files, [row(1), row(18), row(19)], 1)).toThrow(
      expect.objectContaining({ code: "FULA_MIGRATION_IRREVERSIBLE", message: expect.stringContaining("018_m18") }),
    );
  });

  test("refuses to revert what only a newer build can", () => {
    expect(() => planDown(FILES, [row(20), row(31)])).toThrow(expect.objectContaining({ code: "FULA_SCHEMA_NEWER" }));
  });
});

test("status calls each standing by its name", () => {
  const history = [
    row(1, { how: "adopted" }),
    row(17),
    row(18, { checksum: "other" }),
    row(19),
    row(31),
    row(32, { breaking: true }),
  ];
  expect(compareHistory(FILES, history).map(({ version, standing }) => [version, standing])).toEqual([
    [1, "adopted"],
    [17, "missing"],
    [18, "changed"],
    [19, "applied"],
    [20, "pending"],
    [31, "newer"],
    [32, "newer-breaking"],
  ]);
});
