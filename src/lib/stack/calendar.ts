import { assert } from "../kernel/assert.ts";
import { type CronField, parseCron } from "../config/cron-expression.ts";

const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"] as const;

function numbers(field: CronField): string {
  return field.all ? "*" : field.values.map((value) => String(value).padStart(2, "0")).join(",");
}

/**
 * A crontab schedule as `OnCalendar=` values of systemd.time(7), in the box's time zone as cron has it. One value, or
 * two where both day fields are restricted: cron then runs on a day that matches either, systemd on one that matches both.
 */
export function calendarsOf(schedule: string): readonly string[] {
  const cron = parseCron(schedule);
  assert(cron, `The configuration let the schedule "${schedule}" through`);
  const time = `${numbers(cron.hour)}:${numbers(cron.minute)}:00`;
  const byDay = (weekday: CronField | null, day: CronField | null): string => {
    const names = weekday === null || weekday.all ? "" : `${weekday.values.map((value) => WEEKDAYS[value]).join(",")} `;
    return `${names}*-${numbers(cron.month)}-${day === null ? "*" : numbers(day)} ${time}`;
  };
  const isEither = !cron.day.star && !cron.weekday.star;
  return isEither ? [byDay(null, cron.day), byDay(cron.weekday, null)] : [byDay(cron.weekday, cron.day)];
}
