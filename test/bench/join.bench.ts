import { expectDone } from "../support/cli.ts";
import { randomBytes } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { readJournal } from "../../src/lib/kernel/journal.ts";
import { removeProject } from "../../src/lib/runtime/compose-remove.ts";
import { joinArgs, placeMember, removeMember } from "../drills/federation/member.ts";
import { infra } from "../infra/infra.ts";
import { median } from "./measure.ts";

const ROUNDS = 3;
// Of TEST-NET-1: nobody answers there, and nobody shall.
const ANNOUNCED = "192.0.2.7";

/** Seconds that each step of one run took, by its journal. */
async function secondsByStep(journalDir: string): Promise<ReadonlyMap<string, number>> {
  const [name = ""] = (await readdir(journalDir)).toSorted();
  const began = new Map<string, number>();
  const seconds = new Map<string, number>();
  for await (const { event, at, step } of readJournal(join(journalDir, name))) {
    if (typeof step !== "string") continue;
    if (event === "step.started") began.set(step, Date.parse(at));
    const startedMs = began.get(step);
    if (event === "step.done" && startedMs !== undefined) seconds.set(step, (Date.parse(at) - startedMs) / 1_000);
  }
  return seconds;
}

interface Round {
  readonly steps: ReadonlyMap<string, number>;
  readonly firstS: number;
  readonly againS: number;
}

async function round(): Promise<Round> {
  const box = await placeMember(`fula-bench-${randomBytes(4).toString("hex")}`, "m1");
  const args = ["join", "--runtime", "docker", ...joinArgs(box, ANNOUNCED)];
  try {
    const startedMs = performance.now();
    expectDone(await box.run(...args), "join");
    const firstMs = performance.now();
    expectDone(await box.run(...args), "join again");
    const againS = (performance.now() - firstMs) / 1_000;
    return { steps: await secondsByStep(join(box.baseDir, "journal")), firstS: (firstMs - startedMs) / 1_000, againS };
  } finally {
    await removeMember(box);
    const { signal } = new AbortController();
    await removeProject(infra().docker, box.project, { signal, report: () => {}, volumes: true });
  }
}

/** How long `join --runtime docker` takes on images that are there, step by step, and a second time. */
export async function bench(): Promise<void> {
  const rounds: Round[] = [];
  for (let index = 0; index < ROUNDS; index += 1) rounds.push(await round());
  const names = [...(rounds[0]?.steps.keys() ?? [])];
  for (const name of names) {
    console.log(`${name.padEnd(14)}${median(rounds.map(({ steps }) => steps.get(name) ?? 0)).toFixed(2)} s`);
  }
  console.log(`${"the whole run".padEnd(14)}${median(rounds.map(({ firstS }) => firstS)).toFixed(2)} s`);
  console.log(`${"once more".padEnd(14)}${median(rounds.map(({ againS }) => againS)).toFixed(2)} s, nothing changed`);
}
