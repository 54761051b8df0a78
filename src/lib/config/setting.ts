import { resolve } from "node:path";
import { z } from "zod";
import { parseDurationMs } from "../kernel/units.ts";
import { explainCron } from "./cron-expression.ts";
import { isIpAddress, isServiceAddress } from "./addresses.ts";

/** What a default may depend on. Settings are resolved in the order of the table, so `value` sees the earlier ones. */
export interface DefaultFacts {
  readonly hostname: string;
  readonly baseDir: string;
  /** True where a flag, the environment or a file gives this setting. */
  isGiven(key: string): boolean;
  /** The effective value of a setting that stands earlier in the table. */
  value(key: string): unknown;
}

/** A default, and how the reference prints it. */
export interface SettingDefault<T> {
  readonly resolve: (facts: DefaultFacts) => T;
  readonly text: string;
  /** What stands behind the name in the commented lines of a new settings file. */
  readonly example: string;
}

/** A name of the environment that sets a setting, and a rule of the fleet where its text is not read as everywhere. */
interface SeedName {
  readonly name: string;
  /** `exactly-true`: only the text `true` is true; the fleet reads anything else as false. */
  readonly rule?: "exactly-true";
  /** With that rule, the values that `true` and anything else stand for; true and false where it is left out. */
  readonly means?: readonly [whenTrue: unknown, otherwise: unknown];
}

/** One setting as data: the loader, `config show`, `config check` and the reference are all made from it. */
export interface Setting<T> {
  readonly description: string;
  /** What a good value looks like, as it stands in error messages: "a whole number from 1 to 65535". */
  readonly expected: string;
  /** Checks a value as YAML gives it and turns it into what the program uses. */
  readonly schema: z.ZodType<T>;
  /** The text that an environment variable must have for this value; the way back from `fromText`. */
  readonly toText: (value: T) => string;
  /** Turns the text of an environment variable or flag into what `schema` takes. */
  readonly fromText: (text: string) => unknown;
  /** True where a YAML number must be read as it is written (`3.10`), not as a float. */
  readonly readsSource: boolean;
  readonly default: SettingDefault<T>;
  readonly seeds: readonly SeedName[];
  /** Renders the effective value for people. */
  readonly render: (value: T) => string;
  /** Says what exactly is wrong with a refused value, where the kind of setting can tell; null where it cannot. */
  readonly explain: (raw: unknown) => string | null;
  /** True where a value may hold a key of somebody's service: it is shown by `render` alone, and never as it is written. */
  readonly isPrivate: boolean;
  /** The value as YAML must hold it. */
  readonly toFile: (value: T) => unknown;
  /** Finishes an accepted value with facts of the box: makes a path absolute. */
  readonly complete: (value: T, facts: DefaultFacts) => T;
}

/** What the builders below take. */
export interface SettingOptions<T> {
  readonly description: string;
  readonly default: T | SettingDefault<T>;
  readonly env?: readonly (string | SeedName)[];
}

function isDefaultRule<T>(value: T | SettingDefault<T>): value is SettingDefault<T> {
  return typeof value === "object" && value !== null && "resolve" in value;
}

function renderPlain(value: unknown): string {
  if (value === null) return "(none)";
  if (Array.isArray(value)) return value.length === 0 ? "(none)" : value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A value as YAML takes it; text that YAML could take for something else is quoted. */
function renderExample(value: unknown): string {
  return typeof value === "string" && /^[A-Za-z][A-Za-z0-9_.-]*$/.test(value) ? value : JSON.stringify(value);
}

function build<T>(
  options: SettingOptions<T>,
  kind: {
    readonly expected: string;
    readonly schema: z.ZodType<T>;
    readonly fromText?: (text: string) => unknown;
    readonly readsSource?: boolean;
    readonly render?: (value: T) => string;
    readonly explain?: (text: string) => string | null;
    readonly complete?: (value: T, facts: DefaultFacts) => T;
  },
): Setting<T> {
  const render = kind.render ?? renderPlain;
  const fallback = options.default;
  const { explain } = kind;
  return {
    description: options.description,
    expected: kind.expected,
    schema: kind.schema,
    toText: (value) => (Array.isArray(value) ? value.join(",") : render(value)),
    fromText: kind.fromText ?? ((text) => text),
    readsSource: kind.readsSource ?? false,
    render,
    explain: (raw) => (typeof raw === "string" ? (explain?.(raw) ?? null) : null),
    isPrivate: false,
    // A duration is a number in the program and a text in the file.
    toFile: (value) => (kind.schema.safeParse(value).success ? value : render(value)),
    complete: kind.complete ?? ((value) => value),
    default: isDefaultRule(fallback)
      ? fallback
      : { resolve: () => fallback, text: render(fallback), example: renderExample(fallback) },
    seeds: (options.env ?? []).map((seed) => (typeof seed === "string" ? { name: seed } : seed)),
  };
}

const SINGLE_LINE = /^[^\p{Cc}]+$/u;

function integerFromText(text: string): unknown {
  return /^-?\d{1,16}$/.test(text.trim()) ? Number(text) : text;
}

/** Text on one line, not empty. */
export function plainText(
  options: SettingOptions<string>,
  pattern: RegExp = SINGLE_LINE,
  expected = "text on one line",
): Setting<string> {
  return build(options, { expected, schema: z.string().regex(pattern) });
}

/** The path of a file; a relative one starts at the base directory. */
export function filePath(options: SettingOptions<string>): Setting<string> {
  return build(options, {
    expected: "a path on one line",
    schema: z.string().regex(SINGLE_LINE),
    complete: (path, { baseDir }) => resolve(baseDir, path),
  });
}

/** The path of a file, or nothing: `null` in YAML. */
export function optionalFilePath(options: SettingOptions<string | null>): Setting<string | null> {
  return build(options, {
    expected: "a path on one line, or null",
    schema: z.string().regex(SINGLE_LINE).nullable(),
    complete: (path, { baseDir }) => (path === null ? null : resolve(baseDir, path)),
  });
}

/** Text, or nothing: `null` in YAML. */
export function optionalText(
  options: SettingOptions<string | null>,
  pattern: RegExp = SINGLE_LINE,
  expected = "text on one line",
): Setting<string | null> {
  return build(options, { expected: `${expected}, or null`, schema: z.string().regex(pattern).nullable() });
}

/** A whole number. */
export function integer(
  options: SettingOptions<number>,
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
): Setting<number> {
  const expected =
    max === Number.MAX_SAFE_INTEGER ? `a whole number, ${min} or more` : `a whole number from ${min} to ${max}`;
  return build(options, { expected, schema: z.int().min(min).max(max), fromText: integerFromText });
}

/** True or false. */
export function flag(options: SettingOptions<boolean>): Setting<boolean> {
  return build(options, {
    expected: "true or false",
    schema: z.boolean(),
    fromText: (text) => (text === "true" ? true : text === "false" ? false : text),
  });
}

/** One of a few words. */
export function oneOf<const T extends string>(options: SettingOptions<T>, words: readonly T[]): Setting<T> {
  return build(options, { expected: `one of ${words.join(", ")}`, schema: z.enum(words) });
}

/** One of a few whole numbers. */
export function oneOfNumbers<const T extends number>(options: SettingOptions<T>, numbers: readonly T[]): Setting<T> {
  return build(options, {
    expected: `one of ${numbers.join(", ")}`,
    schema: z.literal(numbers),
    fromText: integerFromText,
  });
}

/** A non-negative decimal number, kept as text so that no digit is lost. */
export function decimal(options: SettingOptions<string>): Setting<string> {
  return build(options, {
    expected: "a decimal number such as 3 or 2.75, with at most 18 digits after the point",
    schema: z.string().regex(/^\d{1,20}(\.\d{1,18})?$/),
    readsSource: true,
  });
}

/** A duration such as `26h`; milliseconds in the program. @param least the shortest one that is taken; none = above zero */
export function duration(
  options: { readonly description: string; readonly default: string },
  least: string | null = null,
): Setting<number> {
  const leastMs = least === null ? 1 : (parseDurationMs(least) ?? 1);
  const schema = z
    .string()
    .refine((text) => (parseDurationMs(text) ?? 0) >= leastMs)
    .transform((text) => parseDurationMs(text) ?? 0);
  return build<number>(
    {
      description: options.description,
      default: {
        resolve: () => parseDurationMs(options.default) ?? 0,
        text: options.default,
        example: options.default,
      },
    },
    {
      expected: `a duration ${least === null ? "above zero" : `of at least ${least}`} with its unit, such as 30s, 26h or 7d`,
      schema,
      render: renderDuration,
    },
  );
}

/** Renders milliseconds in the largest unit that loses nothing: `93600000` → `26h`. */
function renderDuration(ms: number): string {
  for (const [factor, unit] of [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "m"],
    [1_000, "s"],
  ] as const) {
    // 24 h and 48 h are thought of as hours by whoever wrote 26h next to them; days start at three.
    if (ms % factor === 0 && ms >= factor * (unit === "d" ? 3 : 1)) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

const BYTE_FACTORS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
  TiB: 1024 ** 4,
};

/** Reads `5GiB`, `64 MiB`, `1024` as bytes; anything else is given back as it is. */
function bytesFromText(text: string): unknown {
  const match = /^(\d{1,16})\s*(B|KiB|MiB|GiB|TiB)?$/.exec(text.trim());
  const factor = BYTE_FACTORS[match?.[2] ?? ""];
  return match === null || factor === undefined ? text : Number(match[1]) * factor;
}

/** A count of bytes: a whole number, or one with a binary unit. @param most the largest one that is taken, and why */
export function bytes(
  options: SettingOptions<number>,
  min: number,
  most: { readonly max: number; readonly because: string } | null = null,
): Setting<number> {
  const whole = z
    .int()
    .min(min)
    .max(most?.max ?? Number.MAX_SAFE_INTEGER);
  const schema = z.preprocess((value) => (typeof value === "string" ? bytesFromText(value) : value), whole);
  return build(options, {
    expected:
      most === null
        ? `a number of bytes, ${min} or more, such as 524288000 or 5GiB`
        : `a number of bytes from ${min} to ${most.max} (${most.because})`,
    schema,
    fromText: bytesFromText,
  });
}

/** A list of texts, each of a pattern or accepted by a check; commas separate them in the environment. */
export function list(
  options: SettingOptions<readonly string[]>,
  form: RegExp | ((item: string) => boolean),
  expected: string,
): Setting<readonly string[]> {
  const item = form instanceof RegExp ? z.string().regex(form) : z.string().refine(form);
  return build(options, {
    expected: `a list of ${expected}`,
    schema: z.array(item).readonly(),
    fromText: (text) =>
      text
        .split(",")
        .map((part) => part.trim())
        .filter((part) => part !== ""),
  });
}

/** A list of whole numbers; commas separate them in the environment. */
export function integers(
  options: SettingOptions<readonly number[]>,
  min: number,
  max: number,
): Setting<readonly number[]> {
  return build(options, {
    expected: `a list of whole numbers from ${min} to ${max}`,
    schema: z.array(z.int().min(min).max(max)).readonly(),
    fromText: (text) =>
      text
        .split(",")
        .filter((part) => part.trim() !== "")
        .map(integerFromText),
  });
}

/** When something runs, as a crontab line says it. */
export function schedule(options: SettingOptions<string>): Setting<string> {
  return build(options, {
    expected: 'five crontab fields such as "0 */6 * * *"',
    schema: z.string().refine((text) => explainCron(text) === null),
    explain: explainCron,
  });
}

/** The HTTP API of another service. */
export function serviceAddress(options: SettingOptions<string>): Setting<string> {
  return build(options, {
    expected: "an address such as /ip4/127.0.0.1/tcp/5001 or http://127.0.0.1:5001",
    schema: z.string().refine(isServiceAddress),
  });
}

/** The address that a server listens on. */
export function listenHost(options: SettingOptions<string>): Setting<string> {
  return build(options, {
    expected: "an IP address, or localhost",
    schema: z.string().refine((host) => host === "localhost" || isIpAddress(host)),
  });
}

/** A setting of a form of its own, whose values may hold keys of somebody's service. */
export function privateValue<T>(
  options: Pick<
    Setting<T>,
    "description" | "expected" | "schema" | "fromText" | "toFile" | "toText" | "render" | "explain"
  > & {
    readonly default: { readonly value: T; readonly text: string; readonly example: string };
    readonly env?: readonly string[];
  },
): Setting<T> {
  const { default: fallback, env = [], ...kind } = options;
  return {
    ...kind,
    readsSource: false,
    isPrivate: true,
    complete: (value) => value,
    default: { resolve: () => fallback.value, text: fallback.text, example: fallback.example },
    seeds: env.map((name) => ({ name })),
  };
}
