import { readFile, stat } from "node:fs/promises";
import type { VerifiedPuts } from "../blocks/kubo.ts";
import type { KuboHolds } from "../blocks/kubo-holds.ts";
import { urlOfSetting } from "../config/addresses.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { verifyEip712 } from "../identity/eip712/verify.ts";
import { createRateLimit } from "../identity/rate-limit.ts";
import { subjectText } from "../identity/subject.ts";
import { createAttribution } from "../ingest/attribution.ts";
import { type BlockKeeper, createBlockKeeper } from "../ingest/block-keeper.ts";
import { createDecisions, type LocalVerdict } from "../ingest/decisions.ts";
import { type HoldBook, openHoldBook } from "../ingest/hold-book.ts";
import { OpenCounts, StoreSlots } from "../ingest/limits.ts";
import { createMasters, type Masters } from "../ingest/masters.ts";
import { takeBlock } from "../ingest/take-block.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { assertIngestSettings } from "../stack/ingest-check.ts";
import { readLocalStatus } from "../stack/storage-view.ts";
import { createHealth, type HealthCheck } from "./health.ts";
import { createIngestListener, type IngestHealth, type IngestListener, type TlsPair } from "./ingest-listener.ts";
import type { IngestMetrics } from "./metrics-ingest.ts";
import type { Metrics } from "./metrics.ts";
import { repeat } from "./repeat.ts";
import { walletTokenRules } from "./wallet-tokens.ts";

/** What the entrance of a storage node is made from. */
export interface IngestDeps {
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  /** Asks the masters. */
  readonly fetch: typeof globalThis.fetch;
}

/** The entrance of a storage node, ready and not listening yet. */
export interface Ingest {
  readonly listener: IngestListener;
  /** For `/readyz`. */
  readonly checks: readonly HealthCheck[];
}

/** Credentials that nobody knows yet, from one address: that many at once, and that many a second. */
const UNKNOWN_CREDENTIALS = { burst: 60, perSecond: 2 };
/** Blocks that one address may be sending at the same time, whoever it is. */
const OPEN_BY_ADDRESS = 128;
/** What an identity may have stored here that no master knows of. */
const UNTOLD_BYTES_MAX = 256 * 1_024 * 1_024;
const RELEASE_INTERVAL_MS = 15_000;
const TLS_LOOK_MS = 30_000;
const PEER_MS = 30_000;
const KUBO_MS = 2_000;
const KUBO_CACHE_MS = 1_500;
const MASTERS_CACHE_MS = 10_000;
const MASTERS_MS = 6_000;

/** What the token of a wallet says by itself; of anything else only a master knows. */
function localVerifier(config: Config, clock: Clock): (bearer: string) => LocalVerdict {
  const here = walletTokenRules(config);
  const { clusterId } = config.node;
  const rules = {
    ...here,
    // Which versions are taken is the masters' to say; what is damaged, over, or another one's is refused here.
    versions: new Set([1, 2] as const),
    audiences: new Set(clusterId === null ? [] : [`federation:${clusterId}`]),
  };
  return (bearer) => {
    const verdict = verifyEip712(bearer, rules, clock.nowMs());
    if (verdict.state === "refused") return { state: "refused", because: verdict.because };
    if (verdict.state !== "accepted") return { state: "unknown" };
    const { identity } = verdict;
    if (!identity.scopes.has("write")) return { state: "refused", because: "its scope does not include writing" };
    const version = bearer.startsWith("fula-eip712v2.") ? 2 : 1;
    if (!here.versions.has(version)) return { state: "unknown" };
    return { state: "accepted", identity: subjectText(identity.subject) };
  };
}

async function readTls({ tlsCert, tlsKey }: Config["ingest"]): Promise<TlsPair | null> {
  if (tlsCert === null || tlsKey === null) return null;
  try {
    return { cert: await readFile(tlsCert, "utf8"), key: await readFile(tlsKey, "utf8") };
  } catch (error) {
    throw new FulaError("FULA_INGEST_UNREADY", `The certificate cannot be read: ${messageOf(error)}.`, {
      cause: error,
      hint: "see that ingest.tlsCert and ingest.tlsKey are PEM files that the user of serve may read.",
    });
  }
}

async function stampOf({ tlsCert, tlsKey }: Config["ingest"]): Promise<string> {
  const files = [tlsCert, tlsKey].filter((path) => path !== null);
  return (await Promise.all(files.map(async (path) => (await stat(path)).mtimeMs))).join(" ");
}

/** Takes a certificate over when its files change, so that a renewal needs no restart. */
async function keepTlsFresh(
  settings: Config["ingest"],
  { server }: IngestListener,
  { clock, log }: Pick<IngestDeps, "clock" | "log">,
): Promise<AsyncDisposable> {
  let known = settings.tlsCert === null ? "" : await stampOf(settings);
  return repeat({ intervalMs: TLS_LOOK_MS, clock }, async () => {
    if (settings.tlsCert === null || !("setSecureContext" in server)) return;
    try {
      const found = await stampOf(settings);
      if (found === known) return;
      const pair = await readTls(settings);
      if (pair !== null) server.setSecureContext(pair);
      known = found;
      log.info("ingest.certificate.read");
    } catch (error) {
      log.warn("ingest.certificate.not_read", { message: messageOf(error) });
    }
  });
}

/** Lets go of what the cluster has, and tells masters what they do not know yet, now and again and again. */
function keepBooks(
  parts: {
    readonly keeper: BlockKeeper;
    readonly book: HoldBook;
    readonly tellLater: () => Promise<void>;
    readonly metrics: IngestMetrics;
  },
  { clock, log }: Pick<IngestDeps, "clock" | "log">,
): AsyncDisposable {
  const { keeper, book, tellLater, metrics } = parts;
  let isAdopted = false;
  metrics.holdsCounted(book.count());
  return repeat({ intervalMs: RELEASE_INTERVAL_MS, clock }, async () => {
    try {
      if (!isAdopted) await keeper.adopt();
      isAdopted = true;
      await tellLater();
      metrics.released(await keeper.release());
    } catch (error) {
      log.warn("ingest.holds.not_looked_at", { message: messageOf(error) });
    }
    metrics.holdsCounted(book.count());
  });
}

function counted(masters: Masters, metrics: IngestMetrics): Masters {
  return {
    ...masters,
    ask: async (bearer, question, signal) => {
      try {
        const answer = await masters.ask(bearer, question, signal);
        metrics.asked(answer.state);
        return answer;
      } catch (error) {
        metrics.asked("silent");
        throw error;
      }
    },
  };
}

function ingestChecks(url: string, masters: Masters): readonly [kubo: HealthCheck, masters: HealthCheck] {
  const kubo: HealthCheck = {
    name: "kubo",
    critical: true,
    timeoutMs: KUBO_MS,
    cacheMs: KUBO_CACHE_MS,
    run: async (signal) => {
      const { readKuboPeerId } = await import("../blocks/kubo-node.ts");
      return { state: "ok", details: { peerId: await readKuboPeerId(url, signal) } };
    },
  };
  const asked: HealthCheck = {
    name: "masters",
    critical: false,
    timeoutMs: MASTERS_MS,
    cacheMs: MASTERS_CACHE_MS,
    run: async (signal) =>
      (await masters.answer(signal)) ? { state: "ok" } : { state: "degraded", error: "no master answers" },
  };
  return [kubo, asked];
}

function healthOf(checks: readonly HealthCheck[], clock: Clock): () => Promise<IngestHealth> {
  const health = createHealth(checks, clock);
  return async () => {
    const { checks: found } = await health.report();
    const isWell = (name: string): boolean => found.some((check) => check.name === name && check.state === "ok");
    const [kubo, masters] = [isWell("kubo"), isWell("masters")];
    return { status: kubo ? (masters ? "ok" : "degraded") : "failing", kubo, masters };
  };
}

async function openNode(url: string): Promise<{ readonly blocks: VerifiedPuts; readonly holds: KuboHolds }> {
  const { openKuboBlockStore } = await import("../blocks/kubo.ts");
  const { openKuboHolds } = await import("../blocks/kubo-holds.ts");
  return { blocks: openKuboBlockStore(url), holds: openKuboHolds(url) };
}

/**
 * Opens the entrance of a storage node; the stack closes what was opened. Null where it takes nothing in.
 * @throws FulaError FULA_INGEST_EXPOSED, FULA_INGEST_UNREADY
 */
export async function openIngest(
  loaded: LoadedConfig,
  deps: IngestDeps,
  opened: AsyncDisposableStack,
): Promise<Ingest | null> {
  const { config, paths } = loaded;
  const { ingest: settings, node } = config;
  if (settings.mode === "off") return null;
  const clusterSecret = assertIngestSettings(loaded);
  const { metrics, clock, log, fetch } = deps;
  const url = urlOfSetting(config.blocks.kuboApi);
  const masters = counted(createMasters({ urls: settings.masters, clusterSecret, fetch, clock, log }), metrics.ingest);
  const book = opened.use(openHoldBook(paths.ingestHoldsFile));
  const leaseMs = settings.leaseTime;
  const standingOf = async (cid: string, signal = AbortSignal.timeout(PEER_MS)): Promise<string> =>
    (await readLocalStatus(urlOfSetting(config.cluster.api), cid, signal)).status;
  const keeper = createBlockKeeper({ ...(await openNode(url)), book, standingOf, leaseMs, clock, log });
  const credentials = createRateLimit(UNKNOWN_CREDENTIALS, clock);
  const asking = { masters, node: node.name, mode: settings.quota, clock, log };
  const decisions = createDecisions({
    ...asking,
    verifyLocally: localVerifier(config, clock),
    pace: (address) => credentials.take(address),
    memoryMs: leaseMs,
  });
  const attribution = createAttribution({
    ...asking,
    decisions,
    untoldBytesMax: UNTOLD_BYTES_MAX,
    untoldMs: leaseMs,
  });
  const taking = {
    decisions,
    attribution,
    keeper,
    openByAddress: new OpenCounts(OPEN_BY_ADDRESS),
    openByClient: new OpenCounts(settings.perIdentity),
    slots: new StoreSlots(settings.maxConcurrent),
    maxBlockBytes: settings.maxBlockBytes,
    leaseMs,
    clock,
  };
  const checks = ingestChecks(url, masters);
  const listener = createIngestListener({
    take: async (request) => await takeBlock(request, taking),
    health: healthOf(checks, clock),
    tls: await readTls(settings),
    metrics,
    clock,
    log,
  });
  opened.use(await keepTlsFresh(settings, listener, deps));
  const tellLater = async (): Promise<void> => {
    const { refused } = await attribution.tellLater();
    for (const cid of refused) log.warn("ingest.block.refused_later", { cid });
  };
  opened.use(keepBooks({ keeper, book, tellLater, metrics: metrics.ingest }, deps));
  return { listener, checks };
}
