import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { Paths } from "../config/paths.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { lastGoodSnapshot } from "../pinset/catalog.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import { daemonState, startDaemon, stopDaemon } from "./daemon.ts";
import type { JoinBox } from "./join-box.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";
import { openPinCluster } from "./pinset.ts";
import { already, todo } from "./plan.ts";
import { formatCount } from "../kernel/units.ts";

/** Thousands of pins take a peer that has just joined minutes. */
const CATCH_UP_PATIENCE_MS = 10 * 60_000;

async function mtimeMs(path: string): Promise<number | null> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/** Why a box needs `serve`. */
const PURPOSE = {
  master: "this is the process that keeps the promises of a master",
  storage: "it restarts containers that are not well, and answers health checks and metrics",
} as const;

/** True where settings or secrets were changed after `serve` read them: its pid file is written right after that. */
export async function hasOldSettings({ configFile, envFile, servePidFile }: Paths): Promise<boolean> {
  const startedMs = (await mtimeMs(servePidFile)) ?? Number.POSITIVE_INFINITY;
  const changedMs = Math.max((await mtimeMs(configFile)) ?? 0, (await mtimeMs(envFile)) ?? 0);
  return changedMs > startedMs;
}

/** What the step about `serve` takes of its run, be it that of a master or of a storage node. */
interface ServeRun {
  readonly box: Pick<JoinBox, "context" | "paths" | "wanted" | "reload">;
  readonly settingsChanged: boolean;
}

/** Step: `serve` in the background. */
export function serveStep(run: ServeRun): JoinStep {
  const { box } = run;
  const { clock, env, signal } = box.context;
  return {
    id: "serve",
    title: "serve",
    assess: async () => {
      const state = await daemonState(box.wanted, signal);
      const { host, port } = box.wanted.config.server;
      if (state.status === "stopped") {
        return todo(PURPOSE[box.wanted.config.node.role], ["start serve in the background"]);
      }
      if (run.settingsChanged || (await hasOldSettings(box.paths))) {
        return todo("settings were changed since it started", [`restart serve (process ${state.pid})`]);
      }
      if (!state.ready) return todo("it runs, but is not ready", [`wait for serve (process ${state.pid})`]);
      return already(`process ${state.pid} answers on ${host}:${port} since ${state.since}`);
    },
    apply: async (report) => {
      const loaded = await box.reload();
      const state = await daemonState(loaded, signal);
      if (state.status === "running" && (run.settingsChanged || (await hasOldSettings(box.paths)))) {
        report(`stopping process ${state.pid}`);
        await stopDaemon(loaded, { clock, env, signal });
      }
      report("starting and waiting until it is ready");
      const { pid } = await startDaemon(loaded, { clock, env, signal });
      return `process ${pid} is ready`;
    },
  };
}

/** Step: the first snapshot, taken at once and read back. A master without one has not kept its third promise. */
export function snapshotStep(run: JoinRun): JoinStep {
  const { box } = run;
  const { paths, context, clusterId } = box;
  return {
    id: "snapshot",
    title: "First snapshot",
    assess: async () => {
      const trustedKeys = await loadTrustedKeys(paths.keysDir, box.wanted.config.snapshot.trustedKeys);
      const last = await lastGoodSnapshot(paths.snapshotsDir, { trustedKeys, clusterId, clock: context.clock });
      if (last !== null) return already(`snapshot ${last.manifest.sequence} of ${last.manifest.time} is good`);
      return todo("pins that are lost later can be restored from signed snapshots only", [
        `take a snapshot into ${paths.snapshotsDir}`,
        "verify it",
      ]);
    },
    apply: async (report) => {
      const { waitUntilCaughtUp } = await import("../pinset/listing-check.ts");
      const { takeSnapshot } = await import("../pinset/snapshot.ts");
      const { expectsOtherPeers } = await import("./snapshot-run.ts");
      const { verifySnapshot } = await import("../pinset/verify.ts");
      const loaded = await run.load();
      const { snapshot } = loaded.config;
      const { clock, signal } = context;
      await using cluster = await openPinCluster(loaded, { clock });
      const expectsPeers = expectsOtherPeers(loaded.config);
      report("waiting for the pins that other peers know");
      await waitUntilCaughtUp({ cluster, clock, signal, expectsPeers, isFirst: true }, CATCH_UP_PATIENCE_MS);
      report("taking");
      const taken = await takeSnapshot(
        { cluster, paths, trustedKeys: snapshot.trustedKeys, clock, signal },
        { maxShrinkPercent: snapshot.maxShrinkPercent, keep: null, allowEmptyFirst: true, expectsPeers },
      );
      report("verifying");
      const trustedKeys = await loadTrustedKeys(paths.keysDir, snapshot.trustedKeys);
      const { problems } = await verifySnapshot(taken.file, { trustedKeys, clusterId, clock, signal });
      const [problem] = problems;
      if (problem !== undefined) {
        throw new FulaError(problem.code, `The snapshot that was just taken does not verify: ${problem.message}`, {
          hint: problem.hint ?? "fula-master verify lists what is wrong with it.",
          details: { file: taken.file, problems },
        });
      }
      return `${basename(taken.file)}: ${formatCount(taken.pinCount, "pin")}, signed and verified`;
    },
  };
}
