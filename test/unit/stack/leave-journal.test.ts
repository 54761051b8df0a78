import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findLastLeave } from "../../../src/lib/stack/leave-journal.ts";
import { tempDir } from "../../support/temp-dir.ts";

type Line = Readonly<Record<string, unknown>> & { readonly event: string };

function journals(files: Readonly<Record<string, readonly Line[]>>): string {
  const dir = join(tempDir(), "journal");
  mkdirSync(dir);
  for (const [name, lines] of Object.entries(files)) {
    const hour = /T(\d\d)/.exec(name)?.[1] ?? "00";
    const text = lines.map((line) => `${JSON.stringify({ at: `2026-11-20T${hour}:00:00.000Z`, ...line })}\n`).join("");
    writeFileSync(join(dir, `${name}-4711.jsonl`), text);
  }
  return dir;
}

const started: Line = { event: "leave.started", purge: false, name: "m1", project: "fula-master" };

test("a box that never left has no last leave", async () => {
  expect(await findLastLeave(join(tempDir(), "nothing"))).toBeNull();
  expect(await findLastLeave(journals({ "join-20261120T0300": [{ event: "join.started" }] }))).toBeNull();
});

test("tells what was done and where it stopped", async () => {
  const dir = journals({
    "leave-20261120T0500": [
      started,
      { event: "step.started", step: "schedules" },
      { event: "step.done", step: "schedules" },
      { event: "step.started", step: "serve" },
    ],
  });
  expect(await findLastLeave(dir)).toMatchObject({
    finishedAt: null,
    purge: false,
    name: "m1",
    project: "fula-master",
    done: ["schedules"],
    stoppedAt: "serve",
  });
});

test("a join that came after it brings the box back, one before it does not", async () => {
  const leave = [started, { event: "leave.finished" }];
  const before = journals({ "join-20261120T0400": [{ event: "join.started" }], "leave-20261120T0500": leave });
  expect(await findLastLeave(before)).toMatchObject({ finishedAt: "2026-11-20T05:00:00.000Z" });
  const after = journals({ "leave-20261120T0500": leave, "join-20261120T0600": [{ event: "join.started" }] });
  expect(await findLastLeave(after)).toBeNull();
});
