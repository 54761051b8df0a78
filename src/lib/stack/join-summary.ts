import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Paths, resolvePaths } from "../config/paths.ts";
import { systemErrorCode } from "../kernel/errors.ts";
import { lastGoodSnapshot } from "../pinset/catalog.ts";
import { readSigningKey } from "../pinset/signing.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import type { JoinBox } from "./join-box.ts";
import type { Runtime } from "./join-runtime.ts";
import { lookAtSchedules, type ScheduleLook } from "./join-steps-schedules.ts";
import type { ScheduleKind } from "./schedules.ts";
import { settingWarnings, type Warning } from "./warnings.ts";

/** What an operator needs to know about a master that stands; `join --json` prints it. */
export interface JoinSummary {
  readonly nodeName: string;
  readonly clusterId: string;
  readonly runtime: Runtime;
  readonly endpoints: {
    /** S3. */
    readonly gateway: string;
    /** Accounts: credits, wallets, administration. */
    readonly api: string;
    /** /healthz, /readyz and /metrics. */
    readonly operations: string;
  };
  readonly region: string;
  readonly paths: Pick<Paths, "baseDir" | "configFile" | "envFile" | "keysDir" | "snapshotsDir" | "serveLogFile">;
  /** `ed25519:…`; null where there is no key yet. */
  readonly keyId: string | null;
  readonly lastSnapshot: { readonly sequence: number; readonly time: string; readonly pinCount: number } | null;
  /** The newest dump that was taken of the ledger before something changed it; null where there is none. */
  readonly lastDump: string | null;
  /** How the schedules stand; `lines` are crontab lines to install by hand, where nothing here can be written to. */
  readonly schedules: readonly {
    readonly kind: ScheduleKind;
    readonly state: ScheduleLook["state"];
    readonly lines: readonly string[];
    readonly warnings: readonly string[];
  }[];
  readonly warnings: readonly Warning[];
  /** Commands to try next, ready to paste. */
  readonly next: readonly { readonly command: string; readonly explains: string }[];
}

function urlOf(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function quoted(word: string): string {
  return /^[\w./:@%+,=-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}

/** The options that every command needs to find this base directory; empty where it is the default. */
function placeOptions(box: JoinBox): string {
  const { paths, context } = box;
  const usual = resolvePaths({ globals: {}, env: context.env, cwd: context.cwd });
  const base = usual.baseDir === paths.baseDir ? "" : ` --base-dir ${quoted(paths.baseDir)}`;
  const config =
    paths.configFile === join(paths.baseDir, "fula-master.yaml") ? "" : ` --config ${quoted(paths.configFile)}`;
  return `${base}${config}`;
}

function nextCommands(box: JoinBox): JoinSummary["next"] {
  const place = placeOptions(box);
  // From a clone, `fula-master` is on nobody's PATH; npm says so when it was npx that ran us.
  const program = box.context.env["npm_command"] === "exec" ? "npx fula-master" : "fula-master";
  const start = box.options.start === false ? [{ command: `${program} start${place}`, explains: "start serve" }] : [];
  return [
    ...start,
    { command: `${program} status${place}`, explains: "how this master is, on one screen" },
    {
      command: `eval "$(${program} key create --user you@example.org --env${place})"`,
      explains: "an access key and the endpoint, in the environment that S3 clients read",
    },
    {
      command: "aws s3 mb s3://photos && aws s3 cp ./photo.jpg s3://photos/",
      explains: "store a file with any S3 client, such as this one",
    },
    { command: `${program} snapshot${place}`, explains: "sign a snapshot of what is pinned" },
    { command: `${program} verify${place}`, explains: "check the newest snapshot" },
  ];
}

/** Dumps are named by kind and time, so that the newest of an adoption is the last. */
async function newestDump(dir: string): Promise<string | null> {
  try {
    const name = (await readdir(dir))
      .filter((each) => each.endsWith(".dump"))
      .toSorted()
      .at(-1);
    return name === undefined ? null : join(dir, name);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/** Reads what stands now. Writes nothing. */
export async function summarizeJoin(box: JoinBox): Promise<JoinSummary> {
  const { paths, choice, context } = box;
  const loaded = await box.reload();
  const { node, server, gateway, api, snapshot } = loaded.config;
  const trustedKeys = await loadTrustedKeys(paths.keysDir, snapshot.trustedKeys);
  const last = await lastGoodSnapshot(paths.snapshotsDir, {
    trustedKeys,
    clusterId: box.clusterId,
    clock: context.clock,
  });
  const schedules = box.options.schedules === false ? [] : await lookAtSchedules(box);
  const endpoint = urlOf(gateway.host, gateway.port);
  const { baseDir, configFile, envFile, keysDir, snapshotsDir, serveLogFile } = paths;
  return {
    nodeName: node.name,
    clusterId: box.clusterId,
    runtime: choice.runtime,
    endpoints: {
      gateway: endpoint,
      api: urlOf(api.host, api.port),
      operations: urlOf(server.host, server.port),
    },
    region: gateway.region,
    paths: { baseDir, configFile, envFile, keysDir, snapshotsDir, serveLogFile },
    keyId: (await readSigningKey(keysDir))?.keyId ?? null,
    lastSnapshot:
      last === null
        ? null
        : { sequence: last.manifest.sequence, time: last.manifest.time, pinCount: last.manifest.pinCount },
    lastDump: await newestDump(join(baseDir, "backups")),
    schedules: schedules.map(({ kind, state, plan }) => ({ kind, state, lines: plan.lines, warnings: plan.warnings })),
    warnings: settingWarnings(loaded),
    next: nextCommands(box),
  };
}
