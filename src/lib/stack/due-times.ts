import { parseCron } from "../config/cron-expression.ts";
import { assert } from "../kernel/assert.ts";

const MINUTE_MS = 60_000;
/** A schedule that names no day of any year before that names none at all, such as the 31st of February. */
const LOOK_BACK_MS = 400 * 24 * 60 * MINUTE_MS;

/**
 * The last times before `beforeMs` at which a crontab schedule was due in the time zone of this process, newest first;
 * fewer than `count` where there were not as many within a year.
 */
export function lastDueTimes(schedule: string, beforeMs: number, count: number): readonly number[] {
  const cron = parseCron(schedule);
  assert(cron, `The configuration let the schedule "${schedule}" through`);
  const matchesDay = (date: Date): boolean => {
    const day = cron.day.values.includes(date.getDate());
    const weekday = cron.weekday.values.includes(date.getDay());
    return cron.day.star || cron.weekday.star ? day && weekday : day || weekday;
  };
  const found: number[] = [];
  let ms = Math.floor((beforeMs - 1) / MINUTE_MS) * MINUTE_MS;
  while (found.length < count && ms > beforeMs - LOOK_BACK_MS) {
    const date = new Date(ms);
    if (!cron.month.values.includes(date.getMonth() + 1) || !matchesDay(date)) {
      // To the last minute of the day before.
      ms = date.setHours(0, 0, 0, 0) - MINUTE_MS;
    } else if (!cron.hour.values.includes(date.getHours())) {
      ms = date.setMinutes(0, 0, 0) - MINUTE_MS;
    } else {
      if (cron.minute.values.includes(date.getMinutes())) found.push(ms);
      ms -= MINUTE_MS;
    }
  }
  return found;
}
