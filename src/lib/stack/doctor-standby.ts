import type { PathsContext } from "../config/paths.ts";
import { silentLog } from "../kernel/log.ts";
import { type Epoch, formatEpoch, relateEpoch } from "../recovery/epoch.ts";
import { readEpochFloor } from "../recovery/postgres/epoch-floor.ts";
import { readEpochRows } from "../recovery/postgres/epoch-row.ts";
import { certificatesIn } from "./control-plane-certificates.ts";
import { exists, readTextIfExists } from "../kernel/files.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { type DoctorCheck, doubtful, failed, findingsOf, fine } from "./doctor.ts";
import { readKnownEpochs } from "./ledger-epoch-file.ts";
import { canHaveEpochs, openLedgerStore } from "./ledger-store.ts";
import { ownPostgres } from "./own-postgres.ts";
import { openOwnServer } from "./own-server.ts";
import { ensurePostgresCertificate, postgresTlsFiles } from "./postgres-tls.ts";
import type { Finding } from "./preflight.ts";
import { lookAtPrimary } from "./standby-look.ts";
import { readStandbyStatus } from "./standby-status.ts";
import { parseSyncNames } from "./sync-decision.ts";

const DAY_MS = 86_400_000;
/** A certificate of 90 days or less is made anew by serve; one of so few says that serve does not. */
const CERTIFICATE_DAYS_MIN = 30;

async function standbysFinding(
  box: DoctorBox,
  context: PathsContext,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const { loaded, clock, random } = box;
  await using store = await openLedgerStore(loaded, { clock, random, signal, readOnly: true, patience: "doctor" });
  const deps = { ...context, clock, random, log: silentLog, signal };
  const status = await readStandbyStatus({ context: deps, loaded, store, name: loaded.config.node.name });
  const { epoch, standbys, problems } = status;
  if (epoch === null) return [fine("the ledger has one server")];
  const well = `epoch ${epoch.number}, ${epoch.primary} is the primary; ${standbys.map(({ node }) => node).join(", ") || "no standby"}`;
  return findingsOf(
    problems.map((problem) => ({ ...problem, remedy: "fula-master standby status shows all of it." })),
    well,
  );
}

/** What this box's server has, beside what the control plane and the files of this box say of it. */
async function serverFinding(box: DoctorBox, context: PathsContext, signal: AbortSignal): Promise<readonly Finding[]> {
  const { loaded, clock, random } = box;
  const server = await openOwnServer(loaded, { clock, random, log: silentLog, env: context.env, part: "doctor" });
  if ((await server.site.state()) !== "running")
    return [fine(`${server.site.where} does not run; the check "standbys" says whether it should`)];
  await using session = await server.connect();
  await using store = await openLedgerStore(loaded, { clock, random, signal, readOnly: true, patience: "doctor" });
  const [{ value: record }, rows, seen] = [
    await store.get("epoch"),
    await readEpochRows(session),
    await lookAtPrimary(session),
  ];
  const findings: Finding[] = [];
  const [newest = null] = rows;
  const told: Epoch | null = record === null ? null : { number: BigInt(record.number), uuid: record.uuid };
  findings.push(...floorFindings(newest, told, await floorOf(server, signal)));
  if (seen !== null && !seen.hasHints && !seen.hasChecksums) {
    findings.push(
      doubtful(
        "the server writes no hints into its log and has no checksums: one that went its own way can only be copied anew.",
        "restart it (fula-master stop and start, or join): wal_log_hints is on then.",
      ),
    );
  }
  if (seen !== null && record?.phase === "open" && record.primary === loaded.config.node.name) {
    const names = parseSyncNames(seen.syncNames)?.members ?? [];
    const missing = record.syncSet.filter((name) => !names.includes(name));
    if (missing.length > 0) {
      findings.push(
        failed(
          `the control plane counts ${missing.join(", ")} as in step, and PostgreSQL does not wait for it.`,
          "serve brings the two together within seconds; logs/serve.log says why not.",
        ),
      );
    }
  }
  return findings.length > 0 ? findings : [fine(`${server.site.where}: epochs agree`)];
}

async function floorOf(server: Awaited<ReturnType<typeof openOwnServer>>, signal: AbortSignal): Promise<Epoch | null> {
  await using files = await server.site.open(signal);
  return await readEpochFloor(files, server.site);
}

function floorFindings(newest: Epoch | null, told: Epoch | null, floor: Epoch | null): readonly Finding[] {
  const remedy = "fula-master failover status; the control plane may have been set back to an older state.";
  const known = [floor, newest].filter((epoch) => epoch !== null);
  if (told === null) {
    return known.length === 0
      ? []
      : [
          failed(
            `this box knows epoch ${formatEpoch(known[0] ?? { number: 0n, uuid: "" })}, and the control plane none.`,
            remedy,
          ),
        ];
  }
  return known.flatMap((epoch) => {
    const relation = relateEpoch(epoch, told);
    if (relation === "same" || relation === "older") return [];
    return [
      failed(`this box knows epoch ${formatEpoch(epoch)}, and the control plane says ${formatEpoch(told)}.`, remedy),
    ];
  });
}

async function certificateFinding({ loaded, clock }: DoctorBox): Promise<Finding> {
  const { certificate } = postgresTlsFiles(loaded.paths.keysDir);
  const text = await readTextIfExists(certificate);
  const [first] = text === null ? [] : (certificatesIn(text) ?? []);
  if (first === undefined) {
    return failed(
      `${certificate} is missing or no certificate.`,
      "serve makes it within a minute; logs/serve.log says why not.",
    );
  }
  const days = Math.floor((first.validToDate.getTime() - clock.nowMs()) / DAY_MS);
  const why = await ensurePostgresCertificate(loaded, clock, { dryRun: true });
  const renew = "serve makes a new one within a minute; logs/serve.log says why not.";
  if (days < CERTIFICATE_DAYS_MIN) return failed(`${certificate} is good for ${Math.max(days, 0)} more days.`, renew);
  if (why !== null) return doubtful(`${certificate} will not do: ${why}.`, renew);
  return fine(`${certificate} is good for ${days} days`);
}

/** Checks of the ledger's servers, where it has more than one, or may soon. */
export function standbyChecks(box: DoctorBox, context: PathsContext): readonly DoctorCheck[] {
  const { loaded } = box;
  if (!canHaveEpochs(loaded)) return [];
  const standbys: DoctorCheck = {
    name: "standbys",
    run: async (signal) => await standbysFinding(box, context, signal),
  };
  if (ownPostgres(loaded.config)?.announce == null) return [standbys];
  const isIn = async (): Promise<boolean> =>
    (await readKnownEpochs(loaded.paths.stateDir)) !== null ||
    (await exists(postgresTlsFiles(loaded.paths.keysDir).certificate));
  const notYet = fine("no other box copies this one's server yet");
  return [
    standbys,
    {
      name: "ledger-server",
      run: async (signal) => ((await isIn()) ? await serverFinding(box, context, signal) : notYet),
    },
    { name: "ledger-certs", run: async () => ((await isIn()) ? await certificateFinding(box) : notYet) },
  ];
}
