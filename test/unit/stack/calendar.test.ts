import { execFileSync, spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseCron } from "../../../src/lib/config/cron-expression.ts";
import { calendarsOf } from "../../../src/lib/stack/calendar.ts";
import { property } from "../../support/property.ts";

const MINUTE_MS = 60_000;
const BASE_MS = Date.UTC(2027, 0, 1);

/** When cron would run, minute by minute, straight from the words of crontab(5). */
function cronRuns(schedule: string, days: number): readonly string[] {
  const cron = parseCron(schedule);
  if (cron === null) return [];
  const runs: string[] = [];
  for (let ms = BASE_MS; ms < BASE_MS + days * 24 * 60 * MINUTE_MS; ms += MINUTE_MS) {
    const at = new Date(ms);
    const day = cron.day.values.includes(at.getUTCDate());
    const weekday = cron.weekday.values.includes(at.getUTCDay());
    const isEither = !cron.day.star && !cron.weekday.star;
    if (!(isEither ? day || weekday : day && weekday)) continue;
    if (!cron.month.values.includes(at.getUTCMonth() + 1) || !cron.hour.values.includes(at.getUTCHours())) continue;
    if (cron.minute.values.includes(at.getUTCMinutes())) runs.push(at.toISOString().slice(0, 16));
  }
  return runs;
}

/** When the calendar expressions elapse, by the same simple reading of systemd.time(7): weekdays, then date, then time. */
function calendarRuns(calendars: readonly string[], days: number): readonly string[] {
  const runs = new Set<string>();
  for (const calendar of calendars) {
    const match = /^(?:([A-Z][a-z,A-Z]*) )?\*-([\d,*]+)-([\d,*]+) ([\d,*]+):([\d,*]+):00$/.exec(calendar);
    expect(match, calendar).not.toBeNull();
    const has = (part: string | undefined, value: number): boolean =>
      part === "*" || (part ?? "").split(",").map(Number).includes(value);
    const [, weekdays, month, day, hour, minute] = match ?? [];
    for (let ms = BASE_MS; ms < BASE_MS + days * 24 * 60 * MINUTE_MS; ms += MINUTE_MS) {
      const at = new Date(ms);
      const name = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][at.getUTCDay()] ?? "";
      if (weekdays !== undefined && !weekdays.split(",").includes(name)) continue;
      if (!has(month, at.getUTCMonth() + 1) || !has(day, at.getUTCDate())) continue;
      if (has(hour, at.getUTCHours()) && has(minute, at.getUTCMinutes())) runs.add(at.toISOString().slice(0, 16));
    }
  }
  return [...runs].toSorted();
}

const part = (min: number, max: number): fc.Arbitrary<string> => {
  const number = fc.integer({ min, max });
  const range = fc.tuple(number, number).map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`);
  const step = fc.integer({ min: 1, max: Math.max(2, Math.floor(max / 2)) });
  return fc.oneof(
    number.map(String),
    range,
    fc.tuple(fc.oneof(fc.constant("*"), range), step).map(([of, by]) => `${of}/${by}`),
  );
};
const field = (min: number, max: number): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 2, arbitrary: fc.constant("*") },
    fc.array(part(min, max), { minLength: 1, maxLength: 3 }).map((parts) => parts.join(",")),
  );
const anySchedule = fc
  .tuple(part(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))
  .map((fields) => fields.join(" "))
  .filter((schedule) => parseCron(schedule) !== null);

describe("a cron schedule as a systemd calendar", () => {
  test.each([
    ["0 */6 * * *", ["*-*-* 00,06,12,18:00:00"]],
    ["*/30 * * * *", ["*-*-* *:00,30:00"]],
    ["5 4 * * sun", ["Sun *-*-* 04:05:00"]],
    ["0 0 1 jan *", ["*-01-01 00:00:00"]],
    ["0 0 1 * mon", ["*-*-01 00:00:00", "Mon *-*-* 00:00:00"]],
    ["0 0 */2 * mon", ["Mon *-*-01,03,05,07,09,11,13,15,17,19,21,23,25,27,29,31 00:00:00"]],
    ["* * * * *", ["*-*-* *:*:00"]],
  ])("%s is %j", (schedule, calendars) => {
    expect(calendarsOf(schedule)).toEqual(calendars);
  });

  test("elapses in exactly the minutes in which cron would run it", () => {
    fc.assert(
      fc.property(anySchedule, (schedule) => {
        expect(calendarRuns(calendarsOf(schedule), 40)).toEqual(cronRuns(schedule, 40));
      }),
      property(15),
    );
  });

  test("is understood by systemd itself, where it is installed", () => {
    const schedules = ["0 */6 * * *", "*/30 * * * *", ...fc.sample(anySchedule, { numRuns: 8, seed: 11 })];
    const calendars = schedules.flatMap(calendarsOf);
    // The shape is what systemd.time(7) describes; where systemd is installed it has the last word.
    for (const calendar of calendars)
      expect(calendar).toMatch(/^([A-Z][a-z]{2}(,[A-Z][a-z]{2})* )?\*-\S+-\S+ \S+:\S+:00$/);
    if (spawnSync("systemd-analyze", ["--version"]).error !== undefined) return;
    for (const schedule of ["0 */6 * * *", "17 3,15 * * mon-fri", "*/20 0 1-7 * *"]) {
      const output = execFileSync(
        "systemd-analyze",
        ["calendar", "--iterations=6", "--base-time=2026-12-31 23:59:30 UTC", ...calendarsOf(schedule)],
        {
          encoding: "utf8",
          env: { ...process.env, TZ: "UTC", LC_ALL: "C" },
        },
      );
      const elapses = Array.from(
        output.matchAll(/(?:Next elapse|Iter(?:ation|\.) #\d+): \w+ (\S+) (\d\d:\d\d):00 UTC/g),
        ([, date, time]) => `${date}T${time}`,
      );
      expect(elapses).toEqual(cronRuns(schedule, 60).slice(0, 6));
    }
    execFileSync("systemd-analyze", ["calendar", ...calendars], { stdio: "ignore" });
  });
});
