interface FieldRule {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly words?: readonly string[];
}

const MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"] as const;
const WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;

const FIELDS = [
  { name: "minute", min: 0, max: 59 },
  { name: "hour", min: 0, max: 23 },
  { name: "day of the month", min: 1, max: 31 },
  { name: "month", min: 1, max: 12, words: MONTHS },
  { name: "day of the week", min: 0, max: 7, words: WEEKDAYS },
] as const satisfies readonly FieldRule[];

const MACROS: Readonly<Record<string, string>> = {
  "@hourly": "0 * * * *",
  "@daily": "0 0 * * *",
  "@midnight": "0 0 * * *",
  "@weekly": "0 0 * * 0",
  "@monthly": "0 0 1 * *",
};

/** One field of a schedule, with the sorted values that it names. */
export interface CronField {
  /**
   * True where the field begins with `*`. crontab(5): when neither day field does, a job runs on a day that matches
   * *either*; otherwise on a day that matches both.
   */
  readonly star: boolean;
  /** True where every value is named. */
  readonly all: boolean;
  readonly values: readonly number[];
}

/** A crontab schedule taken apart; `weekday` 0 is Sunday. */
export interface CronExpression {
  /** The five fields as crontab(5) wants them, macros written out. */
  readonly text: string;
  readonly minute: CronField;
  readonly hour: CronField;
  readonly day: CronField;
  readonly month: CronField;
  readonly weekday: CronField;
}

/** Why a schedule cannot be used; becomes the reason in the configuration's error. */
class CronProblem extends Error {}

function numberOf(text: string, rule: FieldRule): number {
  const word = rule.words?.indexOf(text.toLowerCase()) ?? -1;
  if (word >= 0) return word + rule.min;
  const value = /^\d{1,2}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= rule.min && value <= rule.max) return value;
  throw new CronProblem(`"${text}" is not a ${rule.name} from ${rule.min} to ${rule.max}`);
}

function valuesOfPart(part: string, rule: FieldRule): number[] {
  const [range = "", stepText, ...rest] = part.split("/");
  const [fromText = "", toText, ...more] = range.split("-");
  if (rest.length > 0 || more.length > 0) throw new CronProblem(`"${part}" is not a ${rule.name}`);
  // Only a range or `*` takes a step: crontab(5) does not define "5/10", and daemons read it differently.
  if (stepText !== undefined && range !== "*" && toText === undefined) {
    throw new CronProblem(`"${part}" has a step without a range; write "${fromText}-${rule.max}/${stepText}"`);
  }
  const from = range === "*" ? rule.min : numberOf(fromText, rule);
  const to = range === "*" ? rule.max : toText === undefined ? from : numberOf(toText, rule);
  const step = stepText === undefined ? 1 : /^\d{1,2}$/.test(stepText) ? Number(stepText) : 0;
  if (step < 1) throw new CronProblem(`"${part}" has a step that is not a number above 0`);
  if (to < from) throw new CronProblem(`"${part}" runs backwards`);
  return Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => from + index * step);
}

function parseField(text: string, rule: FieldRule, isWeekday: boolean): CronField {
  const values = text.split(",").flatMap((part) => valuesOfPart(part, rule));
  const unique = new Set(isWeekday ? values.map((value) => value % 7) : values);
  const count = isWeekday ? WEEKDAYS.length : rule.max - rule.min + 1;
  return { star: text.startsWith("*"), all: unique.size === count, values: [...unique].toSorted((a, b) => a - b) };
}

const LONGEST_MONTH_DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;

function assertHappens(cron: CronExpression): void {
  if (!cron.weekday.star && !cron.day.star) return;
  const firstDay = cron.day.values[0] ?? 1;
  if (cron.month.values.some((month) => firstDay <= (LONGEST_MONTH_DAYS[month - 1] ?? 31))) return;
  throw new CronProblem(`no month of "${cron.text}" has a day ${firstDay}, so it would never run`);
}

function parse(text: string): CronExpression {
  const trimmed = text.trim();
  if (trimmed.startsWith("@") && MACROS[trimmed] === undefined) {
    throw new CronProblem(`"${trimmed}" is not one of ${Object.keys(MACROS).join(", ")}`);
  }
  const fields = (MACROS[trimmed] ?? trimmed).split(/[ \t]+/);
  if (fields.length !== FIELDS.length)
    throw new CronProblem(`it has ${fields.length} fields instead of ${FIELDS.length}`);
  const [minute = "", hour = "", day = "", month = "", weekday = ""] = fields;
  const cron: CronExpression = {
    text: fields.join(" "),
    minute: parseField(minute, FIELDS[0], false),
    hour: parseField(hour, FIELDS[1], false),
    day: parseField(day, FIELDS[2], false),
    month: parseField(month, FIELDS[3], false),
    weekday: parseField(weekday, FIELDS[4], true),
  };
  assertHappens(cron);
  return cron;
}

/** Says why a text is no schedule, as the end of a sentence; null where it is one. */
export function explainCron(text: string): string | null {
  try {
    parse(text);
    return null;
  } catch (error) {
    if (error instanceof CronProblem) return error.message;
    throw error;
  }
}

/**
 * Takes apart five crontab fields (crontab(5): `*`, numbers, ranges, steps, lists, names of months and weekdays) or
 * one of the macros @hourly, @daily, @midnight, @weekly, @monthly. Null where the text is no schedule that ever runs.
 */
export function parseCron(text: string): CronExpression | null {
  return explainCron(text) === null ? parse(text) : null;
}
