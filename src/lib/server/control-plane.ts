import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Authorization, DenialReason, OperatorRole } from "../membership/records.ts";
import type { MembershipStore } from "../membership/store.ts";
import { controlPlaneAddress, openControlPlane } from "../stack/control-plane.ts";
import type { HealthCheck } from "./health.ts";

/** What came of one question whether somebody may act. */
export type Verdict = "allowed" | DenialReason;

/** The control plane of a server that runs: it is opened beside everything else, and opened again until it answers. */
export interface ControlPlaneHandle extends AsyncDisposable {
  readonly mode: LoadedConfig["config"]["controlPlane"]["mode"];
  /** Null while it could not be opened. */
  readonly store: MembershipStore | null;
  /** Why it could not be opened the last time; null once it is open. */
  readonly lastError: FulaError | null;
  /** For /readyz: nothing of what clients are served with depends on it, so it degrades alone. */
  readonly check: HealthCheck;
  /** Whether somebody may act; a denial where it is not open. Never throws. */
  isAuthorized(id: string, role: OperatorRole): Promise<Authorization>;
}

/** What a server's control plane needs beside the configuration. */
export interface ControlPlaneHandleDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Told of every verdict. */
  readonly onVerdict?: (verdict: Verdict) => void;
}

/** Between two attempts to open it. */
const REOPEN_PAUSE_MS = 5_000;
const CHECK_CACHE_MS = 10_000;
/** For what a store does around its own time limit. */
const CHECK_MARGIN_MS = 1_000;

function asFulaError(error: unknown): FulaError {
  if (isFulaError(error)) return error;
  return new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", `The control plane was not opened: ${messageOf(error)}.`, {
    cause: error,
    hint: "fula-master doctor looks at it.",
  });
}

class OpenedControlPlane implements ControlPlaneHandle {
  readonly mode;
  readonly check: HealthCheck;
  readonly #loaded: LoadedConfig;
  readonly #deps: ControlPlaneHandleDeps;
  readonly #end = new AbortController();
  #store: MembershipStore | null = null;
  #lastError: FulaError | null = null;
  #opening: Promise<void> = Promise.resolve();

  constructor(loaded: LoadedConfig, deps: ControlPlaneHandleDeps) {
    this.#loaded = loaded;
    this.#deps = deps;
    const { mode, timeout } = loaded.config.controlPlane;
    this.mode = mode;
    this.check = {
      name: "control-plane",
      critical: false,
      timeoutMs: timeout + CHECK_MARGIN_MS,
      cacheMs: CHECK_CACHE_MS,
      run: async () => await this.#look(),
    };
  }

  get store(): MembershipStore | null {
    return this.#store;
  }

  get lastError(): FulaError | null {
    return this.#lastError;
  }

  async start(): Promise<void> {
    const first = this.#tryOpen();
    this.#opening = first.then(async () => {
      await this.#openLater();
    });
    // A file is there or it is not; servers may take as long as they take.
    if (this.mode === "sqlite") await first;
  }

  async isAuthorized(id: string, role: OperatorRole): Promise<Authorization> {
    const verdict = await this.#judge(id, role);
    this.#deps.onVerdict?.(verdict.allowed ? "allowed" : verdict.reason);
    return verdict;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#opening;
    const store = this.#store;
    this.#store = null;
    await store?.close();
  }

  async #judge(id: string, role: OperatorRole): Promise<Authorization> {
    if (this.#store !== null) return await this.#store.isAuthorized(id, role);
    const why = this.#lastError?.message ?? "The control plane is not open yet.";
    return { allowed: false, reason: "unreachable", why };
  }

  async #look(): ReturnType<HealthCheck["run"]> {
    const details = { mode: this.mode };
    if (this.#store === null) {
      return { state: "failed", error: this.#lastError?.message ?? "it is not open yet", details };
    }
    if (await this.#store.hasAdmin()) return { state: "ok", details };
    return { state: "degraded", error: "it has no active admin, so nobody may act", details };
  }

  async #tryOpen(): Promise<void> {
    const { clock, random, log } = this.#deps;
    const { signal } = this.#end;
    const address = controlPlaneAddress(this.#loaded);
    try {
      this.#store = await openControlPlane(this.#loaded, { clock, random, log, signal, patience: "bootstrap" });
      this.#lastError = null;
      log.info("control_plane.opened", { mode: this.mode, address });
    } catch (error) {
      if (signal.aborted) return;
      const next = asFulaError(error);
      // Every few seconds the same: said once, and again when it is another reason.
      if (next.message !== this.#lastError?.message) log.warn("control_plane.not_open", { address, error: next });
      this.#lastError = next;
    }
  }

  async #openLater(): Promise<void> {
    const { signal } = this.#end;
    while (this.#store === null && !signal.aborted) {
      await this.#deps.clock.sleep(REOPEN_PAUSE_MS, signal).catch(() => {});
      if (!signal.aborted) await this.#tryOpen();
    }
  }
}

/**
 * Opens the control plane for a server that stays. A file is open when this returns; servers are waited for beside
 * everything else, because no bucket and no fee depends on them. Where it cannot be opened it is tried again until it can.
 */
export async function startControlPlane(
  loaded: LoadedConfig,
  deps: ControlPlaneHandleDeps,
): Promise<ControlPlaneHandle> {
  const handle = new OpenedControlPlane(loaded, deps);
  await handle.start();
  return handle;
}
