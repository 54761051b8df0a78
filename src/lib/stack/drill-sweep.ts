import { parseCid } from "../blocks/cid.ts";
import { readTextIfExists } from "../kernel/files.ts";
import { formatDuration } from "../kernel/units.ts";
import type { SweepReport } from "../pinset/sweep-report.ts";
import { defineDrill, type DrillScene, expectThat } from "./drill.ts";
import { type DrillPin, inventPins, untilHeld } from "./drill-pins.ts";
import { openStores } from "./drill-stores.ts";
import { runSweep } from "./sweep-run.ts";

/** How long the sweep that repairs waits for the peers, and how long a pin may take after it. */
const REPAIR_WAIT_MS = 60_000;
const REPAIR_PATIENCE_MS = 120_000;

/** D7: a pin that too few hold is found, alerted once, repaired, and told to be well again. */
export const sweepDrill = defineDrill({
  id: "D7",
  title: "A pin that nobody holds is found, alerted, repaired and cleared",
  claims: {
    found: "A sweep counts a pin whose content is nowhere as held by too few",
    alerted: "Exactly one alert names this pin, dated after the pin was made",
    once: "The next sweep still counts it, and alerts it no second time",
    repaired: "When its content is there, a sweep finds it held",
    cleared: "Exactly one line of the alert log says that this pin is well again",
  },
  unfitFor: ({ config }) => (config.node.role === "storage" ? "a storage node may not pin" : null),
  run: async (scene, check) => {
    await using stores = await openStores(scene.loaded, scene);
    const [pin] = await inventPins(scene, 1);
    expectThat(pin !== undefined, "no pin was made");
    const madeMs = scene.clock.nowMs();
    const found = await check("found", async () => {
      await stores.cluster.put(pin.pin);
      return expectBelow(await sweepApart(scene), pin);
    });
    if (!found) return;
    await check("alerted", async () => {
      return expectOneAlert(await readAlertLog(scene), pin.cid, madeMs);
    });
    await check("once", async () => {
      const evidence = expectBelow(await sweepApart(scene), pin);
      const alerts = alertsAbout(await readAlertLog(scene), pin.cid);
      expectThat(alerts.length === 1, `the log has ${alerts.length} lines about ${pin.cid} now`);
      return evidence;
    });
    const repaired = await check("repaired", async () => {
      await stores.blocks.put(parseCid(pin.cid), pin.bytes, scene.signal);
      await sweepApart(scene, REPAIR_WAIT_MS);
      const tookMs = await untilHeld(scene, stores, [pin], REPAIR_PATIENCE_MS);
      expectThat(!isListed(await sweepApart(scene), pin), `${pin.cid} is held, but the sweep lists it as below`);
      return `held ${formatDuration(tookMs)} after the sweep`;
    });
    if (!repaired) return;
    await check("cleared", async () => {
      const alerts = alertsAbout(await readAlertLog(scene), pin.cid);
      const events = alerts.map(({ event }) => event).join(", ");
      expectThat(events === "under-replicated, cleared", `the lines about ${pin.cid} say: ${events}`);
      return `cleared at ${alerts[1]?.at ?? ""}`;
    });
  },
});

/**
 * Sweeps every pin as the schedule does, but remembers and alerts among the run's own files, and leaves the ledger out:
 * it knows nothing of the run's pin.
 */
async function sweepApart({ apart, clock, signal }: DrillScene, waitMs = 0): Promise<SweepReport> {
  const options = {
    deep: false,
    acceptEmpty: false,
    graceMs: 0,
    waitMs,
    ledger: false,
    repairLedger: false,
    forgetPeers: [],
    dryRun: false,
  };
  return await runSweep(apart, options, { clock, signal });
}

function isListed({ worst }: SweepReport, { cid }: DrillPin): boolean {
  return worst.some((listed) => listed.cid === cid);
}

function expectBelow(report: SweepReport, pin: DrillPin): string {
  const { outcome, belowAfter, worst } = report;
  expectThat(outcome === "below", `the sweep says ${outcome}`);
  // Only the first few are listed; the alert log, which is looked at next, has all of them.
  expectThat(isListed(report, pin) || belowAfter > worst.length, `${pin.cid} is not among the ${belowAfter} below`);
  return `${belowAfter} below, ${pin.cid} among them`;
}

interface AlertLine {
  readonly at: string;
  readonly event: string;
  readonly cid: string;
}

function isAlertLine(value: unknown): value is AlertLine {
  return typeof value === "object" && value !== null && "at" in value && "event" in value && "cid" in value;
}

async function readAlertLog({ apart }: DrillScene): Promise<string> {
  return (await readTextIfExists(apart.config.sweep.alertLog)) ?? "";
}

function alertsAbout(log: string, cid: string): readonly AlertLine[] {
  const lines = log.split("\n").filter((line) => line !== "");
  return lines
    .map((line): unknown => JSON.parse(line))
    .filter(isAlertLine)
    .filter((line) => line.cid === cid);
}

/**
 * Holds that an alert log has one alert about a pin, and that it came after the pin was made: a line of an earlier run
 * proves nothing.
 * @returns the alert in words
 * @throws where it does not hold
 */
export function expectOneAlert(log: string, cid: string, madeMs: number): string {
  const alerts = alertsAbout(log, cid);
  expectThat(alerts.length === 1, `the log has ${alerts.length} lines about ${cid}`);
  const { event, at } = alerts[0] ?? { event: "", at: "" };
  expectThat(event === "under-replicated", `the line says ${event}`);
  // Alerts are dated in whole seconds.
  expectThat(Date.parse(at) >= Math.floor(madeMs / 1_000) * 1_000, `it is dated ${at}, before the pin was made`);
  return `${event} at ${at}`;
}
