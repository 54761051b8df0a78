import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { COMMANDS } from "../../../src/commands/all.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { type CommandSpec, typedName } from "../../../src/lib/terminal/command.ts";

function leaves(specs: readonly CommandSpec[]): readonly CommandSpec[] {
  return specs.flatMap((spec) => [...(spec.run === undefined ? [] : [spec]), ...leaves(spec.subcommands ?? [])]);
}

/** By its name as it is typed. */
const ALL = new Map(leaves(COMMANDS).map((spec) => [typedName(COMMANDS, spec), spec]));
const DOC = readFileSync(join(PROJECT_ROOT, "docs/operators.md"), "utf8");

/** Rows of a table of docs/operators.md: the decision about every single command stands there. */
function tableUnder(heading: string): readonly (readonly [string, string])[] {
  const table = DOC.split(`${heading}\n| --- | --- |\n`)[1]?.split("\n\n")[0] ?? "";
  return table.split("\n").map((row) => {
    const [, name = "", second = ""] = /^\| `([^`]+)` \| (.+) \|$/.exec(row) ?? [];
    return [name, second];
  });
}

const ROLES = tableUnder("| command | role |");
const EXCEPTIONS = tableUnder("| command | why |");

describe("every command that changes something", () => {
  const changing = [...ALL].filter(([, { changes }]) => changes === true).map(([name]) => name);

  test("asks for a role, or is an exception with its reason", () => {
    const listed = new Set([...ROLES, ...EXCEPTIONS].map(([name]) => name));
    expect(changing.filter((name) => !listed.has(name))).toEqual([]);
    expect(EXCEPTIONS.filter(([, why]) => why.length < 15)).toEqual([]);
  });

  test("is listed once, and nothing is listed that is not there", () => {
    const listed = [...ROLES, ...EXCEPTIONS].map(([name]) => name);
    expect(listed.filter((name, index) => listed.indexOf(name) !== index)).toEqual([]);
    expect(listed.filter((name) => !changing.includes(name))).toEqual([]);
  });
});

test("the commands ask for exactly the roles that the handbook tells", () => {
  const asking = [...ALL].flatMap(([name, { requires }]) => (requires === undefined ? [] : [[name, requires]]));
  expect(asking.length).toBeGreaterThan(30);
  expect(Object.fromEntries(asking)).toEqual(Object.fromEntries(ROLES));
});

test("only what must work on a bad day goes on without an answer", () => {
  const emergencies = [...ALL].flatMap(([name, { emergency }]) => (emergency === true ? [name] : []));
  expect(emergencies.toSorted()).toEqual([
    "backup restore",
    "failover",
    "failover abort",
    "membership import",
    "migrate down",
    "migrate up",
    "restore",
  ]);
  for (const name of emergencies) {
    expect(ALL.get(name)?.requires).toBeDefined();
    expect(DOC).toContain(`\`${name}\``);
  }
});

test("a run that only looks asks nobody", () => {
  const looks = (name: string, options: object, args: readonly string[]): boolean | undefined =>
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- as Commander would hand them in
    ALL.get(name)?.onlyLooks?.(options as never, args);
  for (const name of ["billing mode", "buckets mode"]) {
    expect([looks(name, {}, []), looks(name, {}, ["keyed"])]).toEqual([true, false]);
  }
  expect([looks("failover", {}, []), looks("failover", { fence: true }, [])]).toEqual([true, false]);
  expect([looks("backup restore", {}, []), looks("backup restore", { inPlace: true }, [])]).toEqual([true, false]);
  expect([looks("billing reconcile", {}, []), looks("billing reconcile", { repair: true }, [])]).toEqual([true, false]);
});
