import { swapRecord } from "../membership/ledger-swap.ts";
import type { LedgerBox, LedgerEpochRecord, Versioned } from "../membership/ledger-records.ts";
import { openSession, type Session } from "../postgres/session.ts";
import { type Lsn, parseLsn } from "../recovery/lsn.ts";
import { readEpochRows } from "../recovery/postgres/epoch-row.ts";
import { askOne, waitUntil } from "../recovery/postgres/ledger-server.ts";
import { writeNodeConf } from "../recovery/postgres/node-conf.ts";
import type { StandbyCareContext } from "./standby-care.ts";
import { boxConnection } from "./standby-link.ts";
import type { PrimarySeen } from "./standby-look.ts";
import {
  decideSync,
  parseSyncNames,
  renderSyncNames,
  type StreamingStandby,
  type SyncFacts,
  type SyncSet,
} from "./sync-decision.ts";

/** How long the control plane is asked for the answer to a change of the set; until then commits go on as before. */
const RECORD_PATIENCE_MS = 5_000;
/** A server reads its files within milliseconds. */
const EFFECT_PATIENCE = { withinMs: 30_000 };
/** Another box that does not say within this which epoch it knows has not been asked. */
const ASK_TIMEOUT_MS = 3_000;

/** Keeps PostgreSQL and the control plane at one about whom commits wait for; see `decideSync` for the order. */
export class SyncCare {
  readonly #context: StandbyCareContext;
  /** Since when a member has not streamed, by this process's monotonic clock. */
  readonly #silentSinceMs = new Map<string, number>();
  /** The run of the server in which a member of the set was seen to stream, or every other box said that it knows no newer epoch. */
  #trustedRun: string | null = null;
  #barrier: { readonly key: string; readonly lsn: Lsn } | null = null;

  constructor(context: StandbyCareContext) {
    this.#context = context;
  }

  /** One step, where one is due. */
  async step(
    session: Session,
    seen: PrimarySeen,
    epoch: Versioned<LedgerEpochRecord>,
    boxes: readonly LedgerBox[],
  ): Promise<{ readonly done: readonly string[]; readonly waits: string | null }> {
    if (epoch.value === null) return { done: [], waits: null };
    const facts = await this.#facts(seen, epoch.value, boxes);
    const step = decideSync(facts);
    if (step.do === "nothing") return { done: [], waits: step.waits ?? this.#whyStuck(facts) };
    if (step.do === "settle") {
      await this.#settle(session, seen, facts.server);
      return { done: [], waits: null };
    }
    if (step.do === "server") {
      await this.#tellServer(session, seen, step.to);
      return { done: [`commits wait for ${describe(step.to)}: ${step.because}`], waits: null };
    }
    const won = await this.#writeRecord(epoch.value, epoch.revision, step.to);
    const what = `without loss may be promoted ${describe(step.to)}: ${step.because}`;
    return { done: won ? [what] : [], waits: won ? null : "somebody else changed the epoch" };
  }

  async #facts(seen: PrimarySeen, epoch: LedgerEpochRecord, boxes: readonly LedgerBox[]): Promise<SyncFacts> {
    const { server, loaded } = this.#context;
    const { sync: mode, degradeAfter } = loaded.config.standby;
    const nowMs = server.clock.monotonicMs();
    const streaming = streamingOf(seen);
    for (const name of epoch.syncSet) {
      if (streaming.has(name)) this.#silentSinceMs.delete(name);
      else if (!this.#silentSinceMs.has(name)) this.#silentSinceMs.set(name, nowMs);
    }
    const run = `${epoch.number}:${epoch.uuid}:${seen.startedAt}`;
    if (epoch.syncSet.some((name) => streaming.has(name))) this.#trustedRun = run;
    const lost = epoch.syncSet.filter(
      (name) => nowMs - (this.#silentSinceMs.get(name) ?? nowMs) >= degradeAfter && !streaming.has(name),
    );
    if (lost.length > 0 && this.#trustedRun !== run && (await this.#nobodyKnowsNewer(epoch, boxes))) {
      this.#trustedRun = run;
    }
    const current = parseSyncNames(seen.syncNames) ?? { members: [seen.syncNames], needed: -1 };
    return {
      mode,
      record: { members: epoch.syncSet, needed: epoch.syncNeeded },
      server: current,
      boxes: boxes.filter(({ state }) => state === "standby").map(({ node }) => node),
      streaming,
      lost,
      mayShrink: this.#trustedRun === run,
      barrierLsn: this.#barrier?.key === `${run}:${seen.syncNames}` ? this.#barrier.lsn : null,
    };
  }

  #whyStuck({ lost, mayShrink, mode, record }: SyncFacts): string | null {
    if (lost.length === 0) return null;
    const who = lost.join(", ");
    if (mode === "strict" && lost.length === record.members.length)
      return `${who} to stream again: standby.sync is strict`;
    return mayShrink ? null : `${who} to stream again, or every other box to say that it knows no newer epoch`;
  }

  /** Asks every other box's server directly, so that a control plane that was set back fools nobody. */
  async #nobodyKnowsNewer(epoch: LedgerEpochRecord, boxes: readonly LedgerBox[]): Promise<boolean> {
    const { server, loaded } = this.#context;
    const others = boxes.filter(({ node, state }) => node !== server.node && state !== "leaving");
    const answers = await Promise.all(
      others.map(async (box) => {
        const connection = { ...boxConnection(loaded, box, "standby"), connectTimeoutMs: ASK_TIMEOUT_MS };
        try {
          await using session = await openSession({ ...connection, queryTimeoutMs: ASK_TIMEOUT_MS }, server.clock);
          const [newest] = await readEpochRows(session);
          return newest === undefined || newest.number <= BigInt(epoch.number);
        } catch {
          return false;
        }
      }),
    );
    return answers.every(Boolean);
  }

  async #tellServer(session: Session, seen: PrimarySeen, to: SyncSet): Promise<void> {
    const { server, signal } = this.#context;
    await using files = await server.site.open(signal);
    await writeNodeConf(files, server.site, { synchronous_standby_names: renderSyncNames(to) });
    await server.site.reload();
    const wanted = renderSyncNames(to);
    await waitUntil("the server waits for whom it was told", server.clock, { ...EFFECT_PATIENCE, signal }, async () => {
      // Of a new session, because one that lives shows what it has read itself.
      await using fresh = await server.connect();
      const { names } = await askOne<{ names: string }>(fresh, {
        name: "standby_sync_names",
        text: "select current_setting('synchronous_standby_names') as names",
        values: [],
      });
      return names === wanted ? true : null;
    });
    await this.#settle(session, { ...seen, syncNames: wanted }, to);
  }

  /**
   * Has PostgreSQL's set take effect everywhere, and remembers where the log ends then. A walsender of somebody who is not
   * in the set might still let a commit go; the process that tells all others that commits have to wait does so before its
   * next checkpoint.
   */
  async #settle(session: Session, seen: PrimarySeen, to: SyncSet): Promise<void> {
    for (const { node, pid, state, isGenuine } of seen.replications) {
      if (!isGenuine || to.members.includes(node) || state !== "streaming") continue;
      await session.query({ name: "standby_end", text: "select pg_terminate_backend($1)", values: [pid] });
    }
    if (to.needed > 0) await session.query({ name: "standby_checkpoint", text: "checkpoint", values: [] });
    const { head } = await askOne<{ head: string }>(session, {
      name: "standby_head",
      text: "select pg_current_wal_flush_lsn()::text as head",
      values: [],
    });
    const [newest] = await readEpochRows(session);
    if (newest === undefined) return;
    const run = `${newest.number}:${newest.uuid}:${seen.startedAt}`;
    this.#barrier = { key: `${run}:${seen.syncNames}`, lsn: parseLsn(head) };
  }

  async #writeRecord(epoch: LedgerEpochRecord, expectedRevision: number, to: SyncSet): Promise<boolean> {
    const { store, random, server, signal } = this.#context;
    const value: LedgerEpochRecord = {
      ...epoch,
      syncSet: to.members,
      syncNeeded: to.needed,
      token: random.uuid(),
      at: new Date(server.clock.nowMs()).toISOString(),
    };
    const how = { clock: server.clock, signal, patienceMs: RECORD_PATIENCE_MS };
    return (await swapRecord(store, { kind: "epoch", value, expectedRevision }, how)).won;
  }
}

function streamingOf({ replications }: PrimarySeen): ReadonlyMap<string, StreamingStandby> {
  const streaming = new Map<string, StreamingStandby>();
  for (const { node, isGenuine, state, isSync, flushedLsn } of replications) {
    if (isGenuine && state === "streaming" && flushedLsn !== null) streaming.set(node, { flushedLsn, isSync });
  }
  return streaming;
}

function describe({ members, needed }: SyncSet): string {
  if (members.length === 0) return "nobody";
  return members.length === needed ? members.join(" and ") : `${needed} of ${members.join(", ")}`;
}
