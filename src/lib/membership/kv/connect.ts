import { type Authenticator, connect, errors, type NatsConnection } from "@nats-io/transport-node";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import type { Secret } from "../../kernel/secret.ts";
import { Budget, controlPlaneSilent } from "./budget.ts";
import { explainNatsError, isRefusal } from "./explain.ts";
import { userAuthenticator } from "./nkey-authenticator.ts";
import type { KvDeps, KvTarget } from "./target.ts";

type Access = Pick<KvTarget, "servers" | "nkeySeed" | "ca">;

/**
 * Connects once, to whichever server answers first.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function connectNats(target: Access, timeoutMs: number): Promise<NatsConnection> {
  const address = target.servers.join(", ");
  const authenticator = target.nkeySeed === null ? null : authenticatorOf(target.nkeySeed);
  try {
    return await connect({
      servers: [...target.servers],
      name: "fula-master",
      // Of each of them, so that one that is frozen leaves time for the next.
      timeout: Math.max(1, Math.ceil(timeoutMs / target.servers.length)),
      // The library would keep what is written while it is disconnected and send it once it is back, when whoever wrote
      // it was told long ago that it failed.
      reconnect: false,
      // With a bound, the library takes a server that does not answer off its list twice, and the second time another one
      // goes: where two of three are lost it would give up without having asked the third.
      maxReconnectAttempts: -1,
      ignoreClusterUpdates: true,
      noAsyncTraces: true,
      ...(authenticator && { authenticator }),
      ...(target.ca !== null && { tls: { ca: target.ca } }),
    });
  } catch (error) {
    if (isRefusal(error)) throw explainNatsError(error, "connect", address);
    throw controlPlaneSilent(
      `No NATS server answers at ${address}: ${messageOf(error)}`,
      "unreachable",
      "start it, or check controlPlane.servers; fula-master status shows the control plane.",
      error,
    );
  }
}

/** @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE for a seed that is none; the library would only say so to nobody */
function authenticatorOf(nkeySeed: Secret): Authenticator {
  try {
    return userAuthenticator(nkeySeed.reveal());
  } catch {
    throw new FulaError("FULA_CONTROL_PLANE_UNREACHABLE", "What this box logs in with is no seed of an NKey.", {
      hint: "it begins with SU and has 58 characters: check the file that controlPlane.nkeyFile names.",
      details: { silence: "unreachable", refused: true },
    });
  }
}

/** Time that one server has to answer who connects. */
const DIAL_MS = 1_000;

interface Line {
  readonly connection: NatsConnection;
  /** Requests that wait for an answer on it. */
  busy: number;
  isRetired: boolean;
}

/**
 * The way to the servers: one connection, made anew when it breaks or when something got no answer on it. Nothing is
 * kept back while there is none: a write is sent at once or not at all.
 */
export class NatsLink {
  readonly address: string;
  readonly #target: Access;
  readonly #deps: Pick<KvDeps, "clock" | "signal">;
  #dialing: Promise<Line> | null = null;
  #isClosed = false;

  constructor(target: Access, deps: Pick<KvDeps, "clock" | "signal">) {
    this.#target = target;
    this.#deps = deps;
    this.address = target.servers.join(", ");
  }

  /** How long an operation may take. */
  budget(totalMs: number): Budget {
    return new Budget(this.#deps.clock, totalMs);
  }

  /**
   * Asks something within what is left of the budget. @param what in words, as in “write bucket FULA_rooms”
   * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE and what `explainNatsError` makes of the library's errors
   */
  async ask<T>(
    budget: Budget,
    what: string,
    work: (connection: NatsConnection, leftMs: number) => Promise<T>,
  ): Promise<T> {
    this.#deps.signal.throwIfAborted();
    const line = await this.#line(budget);
    line.busy += 1;
    try {
      return await budget.wait(what, async (leftMs) => await work(line.connection, Math.ceil(leftMs)));
    } catch (error) {
      // The server may be frozen, or cut off from the others: the next question goes to whoever answers then.
      if (error instanceof errors.TimeoutError || budget.leftMs() < 1) line.isRetired = true;
      throw explainNatsError(error, what, this.address);
    } finally {
      line.busy -= 1;
      endIfIdle(line);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const dialing = this.#dialing;
    this.#dialing = null;
    const line = await dialing?.catch(() => null);
    await line?.connection.close();
  }

  async #line(budget: Budget): Promise<Line> {
    for (;;) {
      if (this.#isClosed) throw controlPlaneSilent("The control plane was closed", "unreachable", "open it again.");
      this.#dialing ??= this.#dial();
      const dialing = this.#dialing;
      const line = await budget.wait("let this box connect", async () => await dialing, "unreachable");
      if (!line.isRetired && !line.connection.isClosed()) return line;
      this.#forget(dialing);
    }
  }

  /** It may take longer than whoever needs it first can wait: then it is there for the next one. */
  #dial(): Promise<Line> {
    const dialing = connectNats(this.#target, DIAL_MS * this.#target.servers.length).then((connection) => ({
      connection,
      busy: 0,
      isRetired: false,
    }));
    dialing.catch(() => {
      this.#forget(dialing);
    });
    return dialing;
  }

  #forget(dialing: Promise<Line>): void {
    if (this.#dialing === dialing) this.#dialing = null;
  }
}

/** Whoever still waits for an answer on it may get it. */
function endIfIdle(line: Line): void {
  if (line.isRetired && line.busy === 0) void line.connection.close();
}
