import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { RecoveryEvent, RecoveryEventName, ReplicaId, SessionId } from "./types.ts";

// A recovery writes some twenty events; what is older stands in the log that they are passed on to.
const EVENTS_MAX = 10_000;

/** What happened to replicas and why, in order; each event also goes to the log that is handed in, as `recovery.<event>`. */
export class RecoveryLog {
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #log: Log;
  #events: RecoveryEvent[] = [];

  constructor(clock: Pick<Clock, "nowMs">, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  append(replicaId: ReplicaId, sessionId: SessionId | null, event: RecoveryEventName, detail: string): void {
    this.#events.push(Object.freeze({ at: this.#clock.nowMs(), replicaId, sessionId, event, detail }));
    if (this.#events.length > EVENTS_MAX) this.#events = this.#events.slice(EVENTS_MAX / 10);
    this.#log.info(`recovery.${event}`, {
      replica: replicaId,
      session: sessionId === null ? null : `${sessionId}`,
      detail,
    });
  }

  /** The newest ten thousand events, the oldest first; of one session where one is named. */
  events(sessionId?: SessionId): readonly RecoveryEvent[] {
    return this.#events.filter((event) => sessionId === undefined || event.sessionId === sessionId);
  }
}
