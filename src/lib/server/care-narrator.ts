import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";

/** What one round of looking after something came to, as far as a log is told of it. */
interface Round {
  /** In a few words each. */
  readonly done: readonly string[];
  /** What is waited for; null where nothing is. */
  readonly waits: string | null;
}

/** Tells of rounds that repeat: all that was done, and each reason for waiting or failing once. */
export interface CareNarrator {
  readonly tell: (round: Round) => void;
  readonly fail: (error: unknown) => void;
}

/** @param events names of the log's events, and how much a wait matters */
export function narrateCare(
  log: Log,
  events: {
    readonly cared: string;
    readonly waits: string;
    readonly notCared: string;
    readonly waitLevel: "info" | "warn";
  },
): CareNarrator {
  let last: string | null = null;
  const once = (text: string | null, say: (text: string) => void): void => {
    if (text !== null && text !== last) say(text);
    last = text;
  };
  return {
    tell: ({ done, waits }) => {
      for (const what of done) log.info(events.cared, { what });
      once(waits, (what) => {
        log[events.waitLevel](events.waits, { what });
      });
    },
    fail: (error) => {
      once(messageOf(error), (message) => {
        log.warn(events.notCared, { message });
      });
    },
  };
}
