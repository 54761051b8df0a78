import type { LoadedConfig } from "../config/load.ts";
import { signSessionToken } from "../identity/session-token.ts";
import { resolveUserId } from "../identity/user-id.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import { Secret } from "../kernel/secret.ts";
import { formatDuration } from "../kernel/units.ts";
import type { Pool } from "../postgres/pool.ts";
import { type HttpAnswer, probeHttp } from "../runtime/http-probe.ts";
import { readDaemonFile } from "./daemon-file.ts";
import { describeError } from "./look.ts";
import { openPinCluster } from "./pinset.ts";
import { signingKey } from "./signing-run.ts";

/** What storing an object for a trial takes. */
export interface ObjectTrial {
  readonly loaded: LoadedConfig;
  /** Of the new primary: it has the keys that sign tokens. */
  readonly pool: Pool;
  /** The master that was given up, whose peer may be gone with it; null where none was. */
  readonly lost: string | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly report: (text: string) => void;
}

interface Judged {
  readonly state: "ok" | "attention" | "bad";
  readonly seen: string;
}

/** An address that nobody can have (RFC 2606): its user owns the bucket of the trial and nothing else. */
const TRIAL_USER = "failover@fula-master.invalid";
const BUCKET = "fula-failover";
const KEY = "written-and-read";
/** Its value, which nobody can foresee, stands in a block that is stored, pinned and read. */
const MARK = "x-amz-meta-trial";
const MARK_BYTES = 32;
const TOKEN_MS = 300_000;
/** Longer than the gateway itself waits for the pinset, so that its reason is heard. */
const ANSWER_MS = 40_000;
/** Whoever interrupts does not wait long for a gateway that hangs. */
const REMOVAL_MS = 10_000;
/** As long as `serve` is waited for: after a promotion pools and peers come together again. */
const PATIENCE_MS = 60_000;
/** Where waiting is not likely to help. */
const EXPLAINED_PATIENCE_MS = 10_000;
const AGAIN_MS = 500;

/** An answer that is not the wanted one; status 0 where there was none. */
class Refused extends Error {
  override readonly name = "Refused";
  readonly status: number;
  readonly code: string | null;

  constructor(message: string, status: number, code: string | null) {
    super(message);
    this.status = status;
    this.code = code;
  }

  /** True where the same request may do a moment later. */
  get mayPass(): boolean {
    return this.status === 0 || this.status >= 500 || this.status === 409 || this.status === 412 || this.status === 429;
  }
}

/** This box's gateway, asked as the trial's user. */
interface TrialGateway {
  readonly host: string;
  readonly port: number;
  readonly token: Secret;
}

type Wanted = readonly number[];

async function ask(
  { host, port, token }: TrialGateway,
  [method, path]: readonly [string, string],
  wanted: Wanted,
  signal: AbortSignal,
  more: Readonly<Record<string, string>> = {},
): Promise<HttpAnswer> {
  const headers = { authorization: `Bearer ${token.reveal()}`, ...more };
  const answer = await probeHttp({ host, port, path, method, headers }, ANSWER_MS, signal);
  if (answer === null) throw new Refused(`${method} ${path} is not answered`, 0, null);
  const { status } = answer;
  if (wanted.includes(status)) return answer;
  const code = String(answer.headers["x-amz-error-code"] ?? "");
  throw new Refused(`${method} ${path} is answered with ${`${status} ${code}`.trim()}`, status, code);
}

const OBJECT = `/${BUCKET}/${KEY}`;

async function writeAndRead(gateway: TrialGateway, mark: string, signal: AbortSignal): Promise<void> {
  await ask(gateway, ["PUT", `/${BUCKET}`], [200], signal);
  await ask(gateway, ["PUT", OBJECT], [200], signal, { [MARK]: mark });
  const { headers } = await ask(gateway, ["GET", OBJECT], [200], signal);
  if (headers[MARK] !== mark)
    throw new Refused(`GET ${OBJECT} gives another object than the one that was stored`, 200, null);
}

/** Heeds no signal of the run's: what was interrupted is to leave nothing behind, either. */
async function remove(gateway: TrialGateway): Promise<void> {
  const signal = AbortSignal.timeout(REMOVAL_MS);
  await ask(gateway, ["DELETE", OBJECT], [204, 404], signal);
  await ask(gateway, ["DELETE", `/${BUCKET}`], [204, 404], signal);
}

/** @returns what went wrong; null where nothing did. What an earlier trial left is written over and removed, too. */
async function attempt(gateway: TrialGateway, mark: string, signal: AbortSignal): Promise<Refused | null> {
  const failures: Refused[] = [];
  const note = (error: unknown): void => {
    if (!(error instanceof Refused)) throw error;
    failures.push(error);
  };
  await writeAndRead(gateway, mark, signal).catch(note);
  await remove(gateway).catch(note);
  return failures[0] ?? null;
}

async function openGateway({ loaded, pool, clock, random }: ObjectTrial): Promise<TrialGateway> {
  const { host, port } = loaded.config.gateway;
  const issuedMs = clock.nowMs();
  const token = await signSessionToken(await signingKey(pool, loaded, { clock }), {
    subject: { kind: "user", userId: resolveUserId(TRIAL_USER) },
    scopes: new Set(["read", "write"]),
    issuedMs,
    expiresMs: issuedMs + TOKEN_MS,
    madeFrom: null,
    madeFromKey: null,
    id: random.uuid(),
  });
  return { host, port, token: new Secret(token) };
}

/** Why objects cannot be stored where the lost master's peer is missing; null where it is not for that. */
async function whyTooFewPeers({ loaded, lost, clock, signal }: ObjectTrial): Promise<string | null> {
  const { mode, replicationMin } = loaded.config.cluster;
  if (lost === null || mode === "local") return null;
  await using cluster = await openPinCluster(loaded, { clock });
  const left = (await cluster.peers(signal)).filter(({ state }) => state === "answers").length;
  if (left >= replicationMin) return null;
  return (
    `cluster.replicationMin wants ${replicationMin} peers to hold an object, and without ${lost} there are ${left}: ` +
    `bring one back, or set it to ${left} on every master and restart serve there`
  );
}

/** The same; what cannot be counted is no reason. */
async function explainByPeers(trial: ObjectTrial): Promise<string | null> {
  try {
    return await whyTooFewPeers(trial);
  } catch (error) {
    trial.signal.throwIfAborted();
    trial.report(`the peers cannot be counted: ${describeError(error)}`);
    return null;
  }
}

function judgeTrouble({ loaded }: ObjectTrial, { message, code }: Refused, tooFew: string | null): Judged {
  const seen = `no object can be stored and read through the gateway of ${loaded.config.node.name}: ${message}`;
  if (code === "AccountProblem") {
    const why = "where billing.freeTierBytes leaves nothing free, the trial's user may not store anything";
    return { state: "attention", seen: `${seen} (${why})` };
  }
  return tooFew === null ? { state: "bad", seen } : { state: "attention", seen: `${seen}; ${tooFew}` };
}

/**
 * Stores an object through this box's gateway as a client would, reads it and removes it: sender, ledger, blocks and pinset
 * all have to do their part. The object has no bytes, so that nobody's account knows of it.
 */
export async function tryObject(trial: ObjectTrial): Promise<Judged> {
  const { loaded, clock, random, signal, report } = trial;
  const { config, paths } = loaded;
  const { name } = config.node;
  if ((await readDaemonFile(paths.servePidFile)).status !== "running" || config.gateway.port === 0) {
    return { state: "attention", seen: `no object was stored for a trial: the gateway of ${name} could not be asked` };
  }
  let gateway: TrialGateway;
  try {
    gateway = await openGateway(trial);
  } catch (error) {
    if (!isFulaError(error, "FULA_SIGNING_KEY_MISSING")) throw error;
    return { state: "attention", seen: `no object was stored for a trial: ${error.message}` };
  }
  const startMs = clock.monotonicMs();
  for (;;) {
    const trouble = await attempt(gateway, Buffer.from(random.bytes(MARK_BYTES)).toString("hex"), signal);
    signal.throwIfAborted();
    const tookMs = clock.monotonicMs() - startMs;
    if (trouble === null) {
      const seen = `an object was stored, read and removed through the gateway of ${name} in ${formatDuration(tookMs)}`;
      return { state: "ok", seen };
    }
    const tooFew = await explainByPeers(trial);
    const patienceMs = tooFew === null ? PATIENCE_MS : EXPLAINED_PATIENCE_MS;
    if (!trouble.mayPass || tookMs > patienceMs) return judgeTrouble(trial, trouble, tooFew);
    report(`storing an object: ${trouble.message}`);
    await clock.sleep(AGAIN_MS, signal);
  }
}
