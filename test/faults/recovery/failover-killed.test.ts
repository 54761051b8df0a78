import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { stepsFrom } from "../../../src/lib/failover/failover-states.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { FailoverRig, RigWriter } from "../../support/failover-rig.ts";
import { startNatsServers } from "../../support/nats-servers.ts";

const CHILD = join(PROJECT_ROOT, "test", "support", "children", "run-failover.ts");

/** Runs the failover in a process of its own. @returns what it printed, or the signal that ended it */
async function runChild(rig: FailoverRig, killAt: readonly string[]): Promise<string> {
  const args = [CHILD, JSON.stringify(rig.address), ...killAt];
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 });
    return stdout;
  } catch (error) {
    if (error instanceof Error && "signal" in error && typeof error.signal === "string") return error.signal;
    throw error;
  }
}

test("a failover that is killed at the beginning and at the end of every step is completed, and no acknowledged write is lost", async () => {
  await using servers = await startNatsServers(1);
  await using rig = await FailoverRig.open(servers);
  await using writer = new RigWriter(rig);
  await writer.progress(50);
  await rig.kill("alpha");
  const places = stepsFrom("failover", "begun").flatMap(({ action }) => [
    `step.started:${action}`,
    `step.verified:${action}`,
  ]);
  // At the next place that it comes to: the boxes go on by themselves meanwhile, so that one may be passed already. After the
  // last nothing is left to go on with.
  for (const [index, place] of places.slice(0, -1).entries()) {
    expect(await runChild(rig, places.slice(index, -1)), place).toBe("SIGKILL");
  }
  expect(JSON.parse(await runChild(rig, []))).toEqual({ outcome: "done", primary: "beta", epoch: 2 });
  await writer.progress(20);
  await writer[Symbol.asyncDispose]();
  const rows = await rig.box("beta").server.sql<{ n: number }>("select n from written", [], "ledger");
  const kept = new Set(rows.map(({ n }) => n));
  expect(writer.acknowledged.filter((n) => !kept.has(n))).toEqual([]);
  const epochs = await rig
    .box("beta")
    .server.sql("select number::int from ledger_epochs order by number", [], "ledger");
  expect(epochs).toEqual([{ number: 1 }, { number: 2 }]);
}, 900_000);
