import { messageOf } from "../kernel/errors.ts";
import type { Pin } from "./adapters.ts";
import { sessionOfPin } from "./pins.ts";
import type { SessionId } from "./types.ts";

/** What became of the pins whose sessions are over. */
export interface DeadPins {
  readonly collected: readonly string[];
  /** Held as before: the next run tries again. */
  readonly failed: readonly { readonly name: string; readonly because: string }[];
}

/**
 * Lets go of pins whose session lives no more, as after a crash. Pins are listed before sessions: a session is known before
 * it takes its first pin, so that none that was just taken looks dead. Names that are none of ours are left alone.
 * @throws whatever listing throws; then nothing was let go
 */
export async function collectDeadPins(
  listPins: () => Promise<readonly Pin[]>,
  liveSessions: () => Promise<ReadonlySet<SessionId>>,
): Promise<DeadPins> {
  const pins = await listPins();
  const live = await liveSessions();
  const collected: string[] = [];
  const failed: { name: string; because: string }[] = [];
  for (const pin of pins) {
    const sessionId = sessionOfPin(pin.name);
    if (sessionId === null || live.has(sessionId)) continue;
    try {
      await pin.release("session_dead");
      collected.push(pin.name);
    } catch (error) {
      failed.push({ name: pin.name, because: messageOf(error) });
    }
  }
  return { collected, failed };
}
