import { hostname } from "node:os";
import { type ConfigProblem, describeValue, doubt, NOT_SHOWN, problem } from "./problems.ts";
import { SETTINGS, type SettingEntry } from "./schema.ts";
import type { DefaultFacts } from "./setting.ts";
import { type Candidate, candidatesOf, describeSource, type Inputs, type ValueSource } from "./sources.ts";

type Verdict = { readonly value: unknown } | { readonly problem: ConfigProblem };

/** What `true` and anything else mean under a name that is read by the fleet's rule; null under all other names. */
function fleetMeaning(
  entry: SettingEntry,
  source: ValueSource,
): readonly [whenTrue: unknown, otherwise: unknown] | null {
  if (source.kind !== "environment" && source.kind !== "env-file") return null;
  const seed = entry.setting.seeds.find(({ name }) => name === source.name);
  return seed?.rule === "exactly-true" ? (seed.means ?? [true, false]) : null;
}

function judge(entry: SettingEntry, candidate: Candidate): Verdict {
  const { setting, key } = entry;
  const { raw, isText, source } = candidate;
  const meaning = fleetMeaning(entry, source);
  if (meaning !== null) return { value: raw === "true" ? meaning[0] : meaning[1] };
  const parsed = setting.schema.safeParse(isText ? setting.fromText(String(raw)) : raw);
  if (parsed.success) return { value: parsed.data };
  const reason = setting.explain(raw);
  const because = reason === null ? "" : ` (${reason})`;
  return {
    problem: problem(
      "FULA_CONFIG_INVALID",
      key,
      `${key} from ${describeSource(source)} is ${setting.isPrivate ? NOT_SHOWN : describeValue(raw)}${because}; expected ${setting.expected}.`,
      `the default is ${setting.default.text}; docs/configuration.md explains the setting.`,
    ),
  };
}

/** The tier of a source: a flag over the environment over a file is meant, two equals that disagree are a mistake. */
function tierOf(source: ValueSource): string {
  return source.kind === "file" || source.kind === "env-file" ? "files" : source.kind;
}

/** The fleet reads everything but `true` as false; whoever wrote `1` or `True` should know. */
function seedDoubt(entry: SettingEntry, { source, raw }: Candidate): ConfigProblem[] {
  if (fleetMeaning(entry, source) === null || raw === "true" || raw === "false") return [];
  const message = `${describeSource(source)} is ${describeValue(raw)}, not exactly "true": ${entry.key} is off, as on the rest of the fleet.`;
  return [doubt(entry.key, message, 'write "true" or "false".')];
}

function conflictDoubts(entry: SettingEntry, winner: Candidate, losers: readonly Candidate[]): ConfigProblem[] {
  const first = judge(entry, winner);
  return losers
    .filter((loser) => {
      const second = judge(entry, loser);
      if (tierOf(loser.source) !== tierOf(winner.source) || !("value" in first) || !("value" in second)) return false;
      return JSON.stringify(first.value) !== JSON.stringify(second.value);
    })
    .map((loser) =>
      doubt(
        entry.key,
        `${entry.key} is given twice: ${describeSource(winner.source)} is in force, ${describeSource(loser.source)} says something else and is ignored.`,
        "remove one of the two.",
      ),
    );
}

/** The effective settings by key. */
export interface Resolved {
  readonly values: ReadonlyMap<string, unknown>;
  readonly sources: ReadonlyMap<string, ValueSource>;
  readonly problems: readonly ConfigProblem[];
}

interface Settled {
  readonly value: unknown;
  readonly source: ValueSource;
  readonly problems: readonly ConfigProblem[];
}

function settle(entry: SettingEntry, candidates: readonly Candidate[], facts: DefaultFacts): Settled {
  const [winner, ...losers] = candidates;
  if (winner === undefined)
    return { value: entry.setting.default.resolve(facts), source: { kind: "default" }, problems: [] };
  const problems = [...seedDoubt(entry, winner), ...conflictDoubts(entry, winner, losers)];
  // A broken line of the settings file is an error even where a flag or the environment stands above it.
  for (const candidate of candidates) {
    const verdict = judge(entry, candidate);
    if ("problem" in verdict && (candidate === winner || candidate.source.kind === "file"))
      problems.push(verdict.problem);
  }
  const verdict = judge(entry, winner);
  if ("value" in verdict)
    return { value: entry.setting.complete(verdict.value, facts), source: winner.source, problems };
  return { value: entry.setting.default.resolve(facts), source: { kind: "default" }, problems };
}

/** Takes the strongest value of every setting, and tells what is wrong with the values that are offered. */
export function resolveSettings(inputs: Inputs): Resolved {
  const values = new Map<string, unknown>();
  const sources = new Map<string, ValueSource>();
  const problems: ConfigProblem[] = [];
  const candidates = new Map<string, readonly Candidate[]>(
    SETTINGS.map((entry) => [entry.key, candidatesOf(entry, inputs)]),
  );
  const facts: DefaultFacts = {
    hostname: hostname(),
    baseDir: inputs.paths.baseDir,
    isGiven: (key) => (candidates.get(key) ?? []).length > 0,
    value: (key) => values.get(key),
  };
  for (const entry of SETTINGS) {
    const settled = settle(entry, candidates.get(entry.key) ?? [], facts);
    values.set(entry.key, settled.value);
    sources.set(entry.key, settled.source);
    problems.push(...settled.problems);
  }
  return { values, sources, problems };
}
