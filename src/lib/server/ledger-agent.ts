import { isDeepStrictEqual } from "node:util";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { LedgerEpochRecord, LedgerStore } from "../membership/ledger-records.ts";
import { KeptSession } from "../postgres/kept-session.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { actOnEpoch, type AgentContext, type AgentReport } from "../stack/ledger-agent.ts";
import { type FollowedEpoch, readKnownEpochs } from "../stack/ledger-epoch-file.ts";
import { type OwnPostgres, ownPostgres } from "../stack/own-postgres.ts";
import { isWithoutStandbys } from "../stack/own-state.ts";
import type { HealthCheck } from "./health.ts";
import type { KeptStandbys } from "./sync-keeper.ts";

/** How this box stands to the ledger's epoch. */
export interface LedgerFence {
  /**
   * `alone`: the ledger has never had a second server; `primary`: it is here; `follower`: it is elsewhere; `changing`: the
   * primary is being changed; `fenced`: this box's server stays down; `unknown`: nobody has said yet.
   */
  readonly state: "alone" | "primary" | "follower" | "changing" | "fenced" | "unknown";
  /** As the quorum had it last; null where it has none, or was not heard yet. */
  readonly epoch: Pick<LedgerEpochRecord, "number" | "uuid" | "phase" | "primary"> | null;
  /** Why the server is as it is, or what is wrong; null where nothing is to be said. */
  readonly because: string | null;
  /** How long ago the quorum was heard, in milliseconds by a clock that does not jump; null where it never was. */
  readonly confirmedAgoMs: number | null;
}

/** Whose connections go where the ledger is. */
export interface Follower {
  readonly goTo: (epoch: FollowedEpoch, now: LoadedConfig) => void;
}

/** What the agent needs. */
export interface LedgerAgentDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Reads the settings as they are by now: `standby add` changes some while this runs. */
  readonly load: () => Promise<LoadedConfig>;
  readonly openStore: (loaded: LoadedConfig, signal: AbortSignal) => Promise<LedgerStore>;
  readonly openServer: (loaded: LoadedConfig) => Promise<LedgerServer>;
  /** Looks after the servers that copy this one, from when records and server are there. */
  readonly keep?: (parts: KeptStandbys) => AsyncDisposable;
  readonly linkTo?: AgentContext["linkTo"];
  /** Has the engine leave this box's server alone, where it is a container. */
  readonly holdBack?: (loaded: LoadedConfig) => Promise<void>;
}

/** Between two looks at the record in peace, where nobody gives a hint. */
const IDLE_MS = 500;
/** While the primary is being changed. */
const BUSY_MS = 100;
/** So often this box's server is looked at meanwhile, though the record and its process are the same as before. */
const BUSY_CHECK_MS = 250;
/** So often the quorum is asked, and this box's server looked at, though nothing has changed. */
const CHECK_MS = 5_000;
/** So often the settings are read again. */
const SETTINGS_MS = 5_000;
/** A round that has not come back for longer hangs: on a server that is frozen, or an engine. */
const STALE_MS = 60_000;
/** Of the store's patience with a quorum: a primary that hears neither that nor a standby for longer stops. */
const FENCE_AFTER_AGES = 3;

/** Does for this box what the ledger's epoch asks of it, and has its connections go where the primary is. */
export class LedgerAgent implements AsyncDisposable {
  readonly #deps: LedgerAgentDeps;
  readonly #end = new AbortController();
  readonly #running: Promise<void>;
  #loaded: LoadedConfig;
  #loadedAtMs = 0;
  #store: LedgerStore | null = null;
  #listening: AsyncDisposable | null = null;
  #own: OwnPostgres | null = null;
  #server: LedgerServer | null = null;
  #kept: KeptSession | null = null;
  #keeper: AsyncDisposable | null = null;
  #follower: Follower | null = null;
  #report: AgentReport | null = null;
  #siteState: string | null = null;
  #confirmedMs: number | null = null;
  #error: string | null = null;
  #fencedBecause: string | null = null;
  #isHeldBack = false;
  #wake = Promise.withResolvers<void>();

  constructor(loaded: LoadedConfig, deps: LedgerAgentDeps) {
    this.#loaded = loaded;
    this.#deps = deps;
    this.#running = this.#loop();
  }

  /** Whose connections go along from now on. */
  follow(follower: Follower): void {
    this.#follower = follower;
    this.#goAlong();
  }

  fence(): LedgerFence {
    const { clock } = this.#deps;
    const value = this.#report?.epoch.value ?? null;
    const epoch =
      value === null ? null : { number: value.number, uuid: value.uuid, phase: value.phase, primary: value.primary };
    const confirmedAgoMs = this.#confirmedMs === null ? null : clock.monotonicMs() - this.#confirmedMs;
    const because = this.#fencedBecause ?? this.#error ?? this.#report?.because ?? null;
    return { state: this.#stateOf(value), epoch, because, confirmedAgoMs };
  }

  /** For /readyz: what the ledger does for clients has a check of its own. */
  get check(): HealthCheck {
    return {
      name: "ledger-epoch",
      critical: false,
      timeoutMs: 1_000,
      cacheMs: 0,
      run: async () => {
        const { state, epoch, because, confirmedAgoMs } = this.fence();
        const details = { state, ...(epoch === null ? {} : { epoch: epoch.number, primary: epoch.primary }) };
        const isStale = confirmedAgoMs !== null && confirmedAgoMs > STALE_MS;
        const stale = isStale ? `what is told is ${Math.round(confirmedAgoMs / 1_000)} s old: the agent hangs` : null;
        const error = this.#error ?? (state === "fenced" || state === "changing" ? because : stale);
        return await Promise.resolve(error === null ? { state: "ok", details } : { state: "degraded", error, details });
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    this.#wake.resolve();
    await this.#running;
    await this.#keeper?.[Symbol.asyncDispose]();
    await this.#listening?.[Symbol.asyncDispose]();
    await this.#store?.close();
    await this.#kept?.[Symbol.asyncDispose]();
    await this.#stopCopy();
  }

  #stateOf(epoch: LedgerEpochRecord | null): LedgerFence["state"] {
    if (this.#fencedBecause !== null) return "fenced";
    if (this.#report === null) return "unknown";
    if (epoch === null) return "alone";
    if (epoch.phase !== "open") return "changing";
    if (epoch.primary !== this.#loaded.config.node.name) return "follower";
    return this.#report.act === "stop" ? "fenced" : "primary";
  }

  /** A copy is a process of this one's; the ledger's own server is stopped by whoever has opened the ledger. */
  async #stopCopy(): Promise<void> {
    const server = this.#server;
    if (server?.site.kind !== "processes") return;
    if (this.#own?.role !== "standby" && this.#report?.server?.kind !== "standby") return;
    await server.site.stop("fast").catch((error: unknown) => {
      this.#deps.log.warn("ledger.copy_not_stopped", { message: messageOf(error) });
    });
  }

  async #loop(): Promise<void> {
    const { clock } = this.#deps;
    while (!this.#end.signal.aborted) {
      const pauseMs = await this.#round();
      const slept = new AbortController();
      const signal = AbortSignal.any([slept.signal, this.#end.signal]);
      await Promise.race([this.#wake.promise, clock.sleep(pauseMs, signal).catch(() => {})]);
      slept.abort();
      this.#wake = Promise.withResolvers();
    }
  }

  /** @returns how long nothing is due, in milliseconds */
  async #round(): Promise<number> {
    const { clock } = this.#deps;
    try {
      await this.#prepare();
      const store = this.#store;
      if (store === null) return IDLE_MS;
      if (!(await this.#isDue(store))) return this.#isChanging() ? BUSY_MS : IDLE_MS;
      const sentMs = clock.monotonicMs();
      const report = await actOnEpoch(this.#context(store));
      this.#note(report, sentMs);
      this.#siteState = (await this.#server?.site.state()) ?? null;
      return report.act === "nothing" && report.epoch.value?.phase === "open" ? IDLE_MS : BUSY_MS;
    } catch (error) {
      if (this.#end.signal.aborted) return 0;
      if (messageOf(error) !== this.#error) this.#deps.log.warn("ledger.agent_failed", { error });
      this.#error = messageOf(error);
      await this.#fenceIfAlone();
      return IDLE_MS;
    }
  }

  #context(store: LedgerStore): AgentContext {
    const { random, linkTo } = this.#deps;
    const parts = { loaded: this.#loaded, store, server: this.#server, random, signal: this.#end.signal };
    return { ...parts, ...(this.#kept && { kept: this.#kept }), ...(linkTo && { linkTo }) };
  }

  /** Opens what is not open yet; settings are read again from time to time. */
  async #prepare(): Promise<void> {
    const { clock, load, openStore, openServer, keep, log } = this.#deps;
    const nowMs = clock.monotonicMs();
    if (nowMs >= this.#loadedAtMs + SETTINGS_MS) {
      this.#loaded = await load();
      this.#loadedAtMs = nowMs;
    }
    const own = ownPostgres(this.#loaded.config);
    if (!isDeepStrictEqual(own, this.#own)) {
      await this.#keeper?.[Symbol.asyncDispose]();
      this.#keeper = null;
      await this.#kept?.[Symbol.asyncDispose]();
      const server = own === null ? null : await openServer(this.#loaded);
      this.#server = server;
      this.#kept = server === null ? null : new KeptSession(async () => await server.connect());
      this.#own = own;
      log.info("ledger.own_server", { where: this.#server?.site.where ?? null });
    }
    await this.#holdBack();
    if (this.#store === null) {
      this.#store = await openStore(this.#loaded, this.#end.signal);
      this.#listening = this.#store.listen(() => {
        this.#wake.resolve();
      });
    }
    const server = this.#server;
    if (server !== null && this.#keeper === null) {
      const settings = (): LoadedConfig => this.#loaded;
      this.#keeper = keep?.({ ...this.#context(this.#store), settings, server }) ?? null;
    }
  }

  /** From the first epoch on no engine may start the server at boot: only who has asked the control plane may. */
  async #holdBack(): Promise<void> {
    const { holdBack } = this.#deps;
    if (this.#isHeldBack || holdBack === undefined || this.#server?.site.kind !== "container") return;
    if ((await readKnownEpochs(this.#loaded.paths.stateDir)) === null) return;
    await holdBack(this.#loaded);
    this.#isHeldBack = true;
  }

  #isChanging(): boolean {
    const epoch = this.#report?.epoch.value ?? null;
    return epoch !== null && epoch.phase !== "open";
  }

  async #isDue(store: LedgerStore): Promise<boolean> {
    const last = this.#report;
    if (last === null || last.act !== "nothing" || this.#error !== null) return true;
    // It may answer at any moment.
    if (last.server?.kind === "silent") return true;
    const restMs = this.#isChanging() ? BUSY_CHECK_MS : CHECK_MS;
    if (this.#deps.clock.monotonicMs() >= (this.#confirmedMs ?? 0) + restMs) return true;
    if ((await store.get("epoch")).revision !== last.epoch.revision) return true;
    return this.#server !== null && (await this.#server.site.state()) !== this.#siteState;
  }

  #note(report: AgentReport, sentMs: number): void {
    const before = this.#report;
    this.#report = report;
    this.#confirmedMs = sentMs;
    this.#error = null;
    this.#fencedBecause = null;
    const { act, because, epoch } = report;
    const number = epoch.value?.number ?? null;
    if (act !== "nothing")
      this.#deps.log.info("ledger.acted", { act, because, epoch: number, phase: epoch.value?.phase });
    if (epoch.value?.number !== before?.epoch.value?.number || epoch.value?.phase !== before?.epoch.value?.phase) {
      this.#deps.log.info("ledger.epoch", { epoch: number, phase: epoch.value?.phase, primary: epoch.value?.primary });
    }
    this.#goAlong();
  }

  #goAlong(): void {
    const epoch = this.#report?.epoch.value;
    if (epoch?.phase === "open") this.#follower?.goTo(epoch, this.#loaded);
  }

  /**
   * A primary that hears neither the quorum nor a standby that commits wait for may have been succeeded: it acknowledges
   * nothing any more, and stops so that nobody waits for it. One whose commits wait for nobody cannot be succeeded unnoticed.
   */
  async #fenceIfAlone(): Promise<void> {
    const { clock, log } = this.#deps;
    const [server, epoch, confirmedMs] = [this.#server, this.#report?.epoch.value, this.#confirmedMs];
    if (server === null || epoch === undefined || epoch === null || confirmedMs === null) return;
    if (this.#report?.server?.kind !== "primary" || epoch.syncNeeded === 0) return;
    const silentMs = clock.monotonicMs() - confirmedMs;
    if (silentMs < FENCE_AFTER_AGES * this.#loaded.config.controlPlane.maxAge) return;
    try {
      if ((await server.site.state()) !== "running" || !(await isWithoutStandbys(server, epoch.syncSet))) return;
      await server.site.stop("immediate");
      this.#fencedBecause = `neither the control plane nor a standby was heard for ${Math.round(silentMs / 1_000)} s`;
      log.error("ledger.fenced", { because: this.#fencedBecause, epoch: epoch.number });
    } catch (error) {
      log.warn("ledger.not_fenced", { error });
    }
  }
}
