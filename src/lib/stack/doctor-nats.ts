import { readTextIfExists } from "../kernel/files.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import type { RaceReport } from "../membership/kv/self-test.ts";
import type { ClusterView } from "../membership/kv/state.ts";
import { NATS_VERSION_MIN } from "../membership/kv/versions.ts";
import { outlastSilence } from "../membership/outlast.ts";
import {
  judgeClocks,
  judgeMembers,
  judgeStreams,
  judgeSync,
  judgeVersions,
  judgeWitness,
} from "./control-plane-judge.ts";
import { readServers, wantedCluster } from "./control-plane-servers.ts";
import { natsAccess } from "./control-plane.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { type DoctorCheck, failed, findingsOf, fine } from "./doctor.ts";
import type { Finding } from "./preflight.ts";
import type { PartProblem } from "./status-part.ts";

function namesOf({ servers }: ClusterView): string {
  return servers.map(({ name, version }) => `${name} (${version})`).join(", ");
}

function offsetText({ servers }: ClusterView): string {
  const worst = Math.max(0, ...servers.map(({ clockOffsetMs }) => Math.abs(clockOffsetMs ?? 0)));
  return `clocks at most ${formatDuration(worst)} apart from this box's`;
}

async function checkServers({ loaded, clock }: DoctorBox): Promise<readonly Finding[]> {
  const view = await readServers(loaded, { clock });
  const { servers } = view;
  const problems = [...judgeVersions(servers), ...judgeSync(servers), ...judgeClocks(servers)];
  return findingsOf(problems, `${namesOf(view)}: what they acknowledge is on disk; ${offsetText(view)}`);
}

async function checkReplicas({ loaded, clock }: DoctorBox): Promise<readonly Finding[]> {
  const view = await readServers(loaded, { clock });
  const wanted = wantedCluster(loaded, view);
  const problems = [...judgeMembers(view), ...judgeStreams(view, wanted), ...judgeWitness(view, wanted)];
  const leads =
    view.metaLeader === null
      ? "one server"
      : `${view.metaLeader} leads ${formatCount(view.members.length + 1, "server")}`;
  const copies = formatCount(wanted.replicas, "server");
  return findingsOf(problems, `${leads}; ${view.streams.length} buckets, each on the disks of ${copies}, all current`);
}

const RACERS = 8;
const RACE_ROUNDS = 10;
/** A race is some eighty writes, each on the disks of a majority. */
const RACE_LIMIT_MS = 40_000;
const RACE_PATIENCE_MS = 15_000;

/** Puts the outcome of a race into a finding. @param version of the server that was raced on */
export function judgeRace({ rounds, racers, problems }: RaceReport, version: string): Finding {
  if (problems.length === 0) {
    return fine(
      `${racers} clients wrote one key at once, ${rounds} times: each time one won, and nothing else was written`,
    );
  }
  return failed(
    `${racers} clients wrote one key at once, and by nats-server ${version} that was not decided as it must be: ${problems.join("; ")}.`,
    `let one master alone change anything until every server is ${NATS_VERSION_MIN} or newer, then run doctor again.`,
  );
}

async function checkRace({ loaded, clock, random }: DoctorBox, signal: AbortSignal): Promise<Finding> {
  const { prefix, replicas, timeout: timeoutMs } = loaded.config.controlPlane;
  const { connectNats } = await import("../membership/kv/connect.ts");
  const { explainNatsError } = await import("../membership/kv/explain.ts");
  const { runSelfTest } = await import("../membership/kv/self-test.ts");
  const access = await natsAccess(loaded);
  const race = async (): Promise<Finding> => {
    await using opened = new AsyncDisposableStack();
    const connections = await Promise.all(
      Array.from({ length: RACERS }, async () => {
        const connection = await connectNats(access, timeoutMs);
        opened.defer(async () => {
          await connection.close();
        });
        return connection;
      }),
    );
    const target = { connections, prefix, replicas, rounds: RACE_ROUNDS, random, nowMs: clock.nowMs(), timeoutMs };
    try {
      return judgeRace(await runSelfTest(target), connections[0]?.info?.version ?? "of no version");
    } catch (error) {
      throw explainNatsError(error, "race for a key", access.servers.join(", "));
    }
  };
  // Servers that elect at this moment answer nobody, and are well a moment later.
  return await outlastSilence(race, { clock, signal, deadlineMs: clock.monotonicMs() + RACE_PATIENCE_MS });
}

const DAY_MS = 86_400_000;
const CERTIFICATE_WARN_MS = 90 * DAY_MS;
const CERTIFICATE_MIN_MS = 14 * DAY_MS;

/** A certificate of the control plane's servers, with when it ends. */
export interface CertificateEnd {
  readonly path: string;
  readonly endsMs: number;
}

/** Tells of certificates that end soon. */
export function judgeCertificates(ends: readonly CertificateEnd[], nowMs: number): readonly PartProblem[] {
  const remedy =
    "fula-master join makes a new one, on each master; an authority: fula-master membership rekey masters.";
  return ends
    .filter(({ endsMs }) => endsMs - nowMs < CERTIFICATE_WARN_MS)
    .map(({ path, endsMs }): PartProblem => {
      const date = new Date(endsMs).toISOString().slice(0, 10);
      const message = `${path} ${endsMs < nowMs ? "ended" : "ends"} on ${date}: the servers of masters talk no longer than that.`;
      return { severity: endsMs - nowMs < CERTIFICATE_MIN_MS ? "bad" : "attention", message, remedy };
    });
}

/** When each certificate of a file ends; none where there is no such file. */
async function readEnds(path: string): Promise<readonly CertificateEnd[]> {
  const { certificatesIn } = await import("./control-plane-certificates.ts");
  const found = certificatesIn((await readTextIfExists(path)) ?? "") ?? [];
  return found.map(({ validToDate }) => ({ path, endsMs: validToDate.getTime() }));
}

async function checkCertificates({ loaded, clock }: DoctorBox): Promise<readonly Finding[]> {
  const { node } = loaded.config;
  const { controlPlaneKeyFiles, missingControlPlaneKeys } = await import("./control-plane-keys.ts");
  const files = controlPlaneKeyFiles(loaded.paths.keysDir);
  const ends = (await Promise.all([files.ca, files.certificate].map(readEnds))).flat();
  const missing = await missingControlPlaneKeys(loaded.paths.keysDir, node, null, clock);
  const problems = [
    ...judgeCertificates(ends, clock.nowMs()),
    ...missing.map(
      (what): PartProblem => ({
        severity: "attention",
        message: `The keys of the control plane's servers are not as they should be: ${what}.`,
        remedy: "fula-master join does that.",
      }),
    ),
  ];
  const first = Math.min(...ends.map(({ endsMs }) => endsMs));
  return findingsOf(
    problems,
    `${formatCount(ends.length, "certificate")}, good until ${new Date(first).toISOString().slice(0, 10)}`,
  );
}

/** Checks of the servers of a control plane on NATS; none where it is a file. */
export function natsChecks(box: DoctorBox): readonly DoctorCheck[] {
  const { mode } = box.loaded.config.controlPlane;
  if (mode === "sqlite") return [];
  const ofServers: readonly DoctorCheck[] = [
    { name: "nats-servers", run: async () => await checkServers(box) },
    { name: "nats-replicas", run: async () => await checkReplicas(box) },
    { name: "nats-race", limitMs: RACE_LIMIT_MS, run: async (signal) => await checkRace(box, signal) },
  ];
  return mode === "nats"
    ? ofServers
    : [...ofServers, { name: "nats-certs", run: async () => await checkCertificates(box) }];
}
