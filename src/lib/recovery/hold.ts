import { messageOf } from "../kernel/errors.ts";
import type { Pin } from "./adapters.ts";
import type { RecoveryLog } from "./recovery-log.ts";
import type { Authority } from "./sender.ts";

/** What a hold is made with. */
export interface HoldOptions {
  readonly authority: Authority;
  readonly log: RecoveryLog;
  /** Lets others work on the replica. */
  readonly free: () => void;
}

/**
 * What one session holds: the replica, on which nobody else works meanwhile, and pins. All of it is let go together, once,
 * with a cause in the log. `await using` lets go on every way out that did not hand it on.
 */
export class Hold implements AsyncDisposable {
  readonly #options: HoldOptions;
  readonly #pins: Pin[] = [];
  #cause = "thrown_error";
  #use: "planning" | "planned" | "executing" = "planning";
  #released: Promise<void> | null = null;

  constructor(options: HoldOptions) {
    this.#options = options;
  }

  get authority(): Authority {
    return this.#options.authority;
  }

  get pinNames(): readonly string[] {
    return this.#pins.map(({ name }) => name);
  }

  take(pin: Pin): void {
    this.#pins.push(pin);
    this.#record("pin_acquired", pin.name);
  }

  /** Says why it will be let go. */
  because(cause: string): void {
    this.#cause = cause;
  }

  /** From now on it belongs to a plan: leaving the block that made it lets nothing go. */
  keepForPlan(): void {
    this.#use = "planned";
  }

  /** Whether a plan has it that was not begun yet. */
  get isIdle(): boolean {
    return this.#use === "planned" && this.#released === null;
  }

  /** Takes it over from the plan. @returns false where it was taken, or let go, before */
  begin(): boolean {
    if (!this.isIdle) return false;
    this.#use = "executing";
    return true;
  }

  /** Lets everything go; the first caller's cause stands. Never rejects: what fails is logged, and collected as a dead pin. */
  async release(cause: string): Promise<void> {
    this.#released ??= this.#releaseAll(cause);
    await this.#released;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#use === "planned") return;
    await this.release(this.#cause);
  }

  async #releaseAll(cause: string): Promise<void> {
    for (const pin of this.#pins.toReversed()) {
      try {
        await pin.release(cause);
      } catch (error) {
        this.#record("pin_release_failed", `${pin.name}: ${messageOf(error)}`);
      }
    }
    if (this.#pins.length > 0 || this.#use !== "planning") this.#record("exec_resources_released", cause);
    this.#options.free();
  }

  #record(event: "pin_acquired" | "pin_release_failed" | "exec_resources_released", detail: string): void {
    const { replicaId, sessionId } = this.#options.authority;
    this.#options.log.append(replicaId, sessionId, event, detail);
  }
}
