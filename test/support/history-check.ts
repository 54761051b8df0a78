/** What must hold of a key for a write to be made. */
export type Condition =
  | { readonly kind: "always" }
  | { readonly kind: "absent" }
  | { readonly kind: "is"; readonly value: string };

/** What a client asked of a key. A value is written by one put of the whole history at most. */
export type Asked =
  | { readonly kind: "put"; readonly value: string; readonly when: Condition }
  | { readonly kind: "delete"; readonly when: Condition }
  | { readonly kind: "get" };

/** What it was told. */
export type Answer =
  | { readonly kind: "done" }
  /** The write's condition did not hold. */
  | { readonly kind: "refused" }
  /** Of a read, and of a write whose condition wants a key that is not there: null = there is no such key. */
  | { readonly kind: "saw"; readonly value: string | null }
  /** A write that nobody answered: it takes effect at some time after the call, or never. */
  | { readonly kind: "unknown" };

/** One call of a client and its answer. Times count events of one process, so that any two of them are ordered. */
export interface Operation {
  readonly client: string;
  readonly key: string;
  readonly asked: Asked;
  readonly answer: Answer;
  readonly calledAt: number;
  /** Infinity where nobody answered. */
  readonly answeredAt: number;
}

/** Whether there is one order of a key's operations, each at some moment of its call, that explains every answer. */
export type Verdict =
  | { readonly kind: "explained" }
  /** No order explains this answer beside those before it. */
  | { readonly kind: "impossible"; readonly operation: Operation; readonly around: readonly Operation[] }
  /** The search was given up: nothing is known, so nothing is well. */
  | { readonly kind: "undecided"; readonly operation: Operation; readonly around: readonly Operation[] };

/** States that are visited before the search of one key is given up. */
const STEPS_MAX = 2_000_000;
/** Operations that are shown on either side of one that nothing explains. */
const SHOWN = 8;

/** The state after an operation that took effect as it was answered; undefined where it cannot have. */
function after({ asked, answer }: Operation, state: string | null): string | null | undefined {
  if (asked.kind === "get") return answer.kind === "saw" && answer.value === state ? state : undefined;
  const { when } = asked;
  if (answer.kind === "saw") return answer.value === state && when.kind === "is" ? state : undefined;
  const holds = when.kind === "always" || (when.kind === "absent" ? state === null : state === when.value);
  if (answer.kind === "refused") return holds ? undefined : state;
  if (!holds) return undefined;
  return asked.kind === "put" ? asked.value : null;
}

/** The value that a key must have for an operation to be answered as it was; null where none in particular. */
function valueNeeded({ asked, answer }: Operation): string | null {
  if (answer.kind === "saw") return answer.value;
  return answer.kind === "done" && asked.kind !== "get" && asked.when.kind === "is" ? asked.when.value : null;
}

const changesNothing = ({ asked, answer }: Operation): boolean =>
  asked.kind === "get" || answer.kind === "refused" || answer.kind === "saw";

/** One operation that is taken as the next. */
interface Step {
  readonly index: number;
  /** False where nobody answered it. */
  readonly isKnown: boolean;
  readonly from: string | null;
  readonly to: string | null;
}

/** A place in the search: what was taken to get there, and where one can go. */
interface Place {
  readonly name: string;
  readonly reads: readonly number[];
  readonly steps: readonly Step[];
  next: number;
  taken: Step | null;
}

/** The search for an order, after Wing and Gong, with the states that led nowhere remembered (Lowe). */
class Search {
  readonly #known: readonly Operation[];
  readonly #maybe: readonly Operation[];
  readonly #isTaken: boolean[];
  readonly #isUsed: boolean[];
  /** Answers still to be explained that need this value: until they are, it must not be overwritten, for it is written once. */
  readonly #readers = new Map<string, number>();
  readonly #seen = new Set<string>();
  #state: string | null;
  #first = 0;
  #steps = 0;
  furthest = 0;

  constructor(operations: readonly Operation[], initial: string | null) {
    const sorted = operations.toSorted((a, b) => a.calledAt - b.calledAt);
    this.#known = sorted.filter(({ answer }) => answer.kind !== "unknown");
    this.#maybe = sorted.filter(({ answer, asked }) => answer.kind === "unknown" && asked.kind !== "get");
    this.#isTaken = this.#known.map(() => false);
    this.#isUsed = this.#maybe.map(() => false);
    for (const operation of this.#known) this.#countReader(operation, 1);
    this.#state = initial;
  }

  get known(): readonly Operation[] {
    return this.#known;
  }

  /** @returns null where it was given up */
  run(): boolean | null {
    const path: Place[] = [];
    for (let place = this.#arrive(); ; place = this.#arrive()) {
      if (place === "end") return true;
      if (this.#steps > STEPS_MAX) return null;
      if (place !== null) path.push(place);
      while (!this.#goOn(path.at(-1))) {
        const left = path.pop();
        if (left === undefined) return false;
        this.#leave(left);
      }
    }
  }

  /** Takes what can be taken at once, and looks where one can go from here; null where that is known to lead nowhere. */
  #arrive(): Place | "end" | null {
    this.#steps += 1;
    const reads = this.#takeReads();
    if (this.#first >= this.#known.length) return "end";
    const name = this.#name();
    if (this.#seen.has(name)) {
      for (const index of reads.toReversed()) this.#untake(index);
      return null;
    }
    const { candidates, earliestEnd } = this.#candidates();
    const known = candidates.flatMap((index) => this.#stepOf(this.#known[index], index, true));
    const maybe = this.#maybe.flatMap((operation, index) => {
      if (this.#isUsed[index] === true || operation.calledAt >= earliestEnd) return [];
      return this.#stepOf({ ...operation, answer: { kind: "done" } }, index, false);
    });
    return { name, reads, steps: [...known, ...maybe], next: 0, taken: null };
  }

  #stepOf(operation: Operation | undefined, index: number, isKnown: boolean): readonly Step[] {
    const to = operation === undefined ? undefined : after(operation, this.#state);
    return to === undefined ? [] : [{ index, isKnown, from: this.#state, to }];
  }

  /** Takes the next step from a place. @returns false where there is none left */
  #goOn(place: Place | undefined): boolean {
    if (place === undefined) return false;
    this.#stepBack(place);
    for (let step = place.steps[place.next]; step !== undefined; step = place.steps[place.next]) {
      place.next += 1;
      place.taken = step;
      if (step.isKnown) this.#take(step.index);
      else this.#isUsed[step.index] = true;
      this.#state = step.to;
      const { from, to } = step;
      // Its own need is explained by now; whatever else still needs the value can never be.
      if (from === to || from === null || (this.#readers.get(from) ?? 0) === 0) return true;
      this.#stepBack(place);
    }
    return false;
  }

  #stepBack(place: Place): void {
    const step = place.taken;
    if (step === null) return;
    place.taken = null;
    this.#state = step.from;
    if (step.isKnown) this.#untake(step.index);
    else this.#isUsed[step.index] = false;
  }

  #leave({ name, reads }: Place): void {
    this.#seen.add(name);
    for (const index of reads.toReversed()) this.#untake(index);
  }

  /** Whatever changes nothing and is explained by the state as it is can as well be now: no order is lost by that. */
  #takeReads(): readonly number[] {
    const taken: number[] = [];
    for (let more = true; more; ) {
      more = false;
      for (const index of this.#candidates().candidates) {
        const operation = this.#known[index];
        if (operation === undefined || !changesNothing(operation)) continue;
        if (after(operation, this.#state) === undefined) continue;
        this.#take(index);
        taken.push(index);
        more = true;
      }
    }
    return taken;
  }

  /** Those that may be next: called before the first end of any that is not taken. */
  #candidates(): { readonly candidates: readonly number[]; readonly earliestEnd: number } {
    const candidates: number[] = [];
    let earliestEnd = Infinity;
    for (let index = this.#first; index < this.#known.length; index += 1) {
      const operation = this.#known[index];
      if (operation === undefined || operation.calledAt > earliestEnd) break;
      if (this.#isTaken[index] === true) continue;
      earliestEnd = Math.min(earliestEnd, operation.answeredAt);
      candidates.push(index);
    }
    return { candidates: candidates.filter((index) => (this.#known[index]?.calledAt ?? 0) < earliestEnd), earliestEnd };
  }

  #take(index: number): void {
    this.#isTaken[index] = true;
    this.#countReader(this.#known[index], -1);
    while (this.#isTaken[this.#first] === true) this.#first += 1;
    this.furthest = Math.max(this.furthest, this.#first);
  }

  #untake(index: number): void {
    this.#isTaken[index] = false;
    this.#countReader(this.#known[index], 1);
    this.#first = Math.min(this.#first, index);
  }

  #countReader(operation: Operation | undefined, by: number): void {
    const value = operation === undefined ? null : valueNeeded(operation);
    if (value !== null) this.#readers.set(value, (this.#readers.get(value) ?? 0) + by);
  }

  #name(): string {
    const taken: number[] = [];
    for (let index = this.#first; index < this.#known.length; index += 1) {
      if (this.#isTaken[index] === true) taken.push(index);
      // Nothing is taken beyond the last call that an end of an untaken one allows.
      else if ((this.#known[index]?.calledAt ?? 0) > (this.#known[this.#first]?.answeredAt ?? Infinity)) break;
    }
    const used = this.#isUsed.flatMap((isUsed, index) => (isUsed ? [index] : []));
    return `${this.#first}|${taken.join()}|${used.join()}|${this.#state ?? ""}`;
  }
}

/** Judges the operations of one key. @param initial what the key was before the first of them; null = not there */
export function checkKey(operations: readonly Operation[], initial: string | null = null): Verdict {
  const search = new Search(operations, initial);
  const found = search.run();
  if (found === true) return { kind: "explained" };
  const operation = search.known[search.furthest];
  if (operation === undefined) throw new Error("A history without operations is explained");
  const around = search.known.slice(Math.max(0, search.furthest - SHOWN), search.furthest + SHOWN);
  return { kind: found === null ? "undecided" : "impossible", operation, around };
}

/** Judges a history key by key: operations on different keys do not order one another. @returns what is not explained */
export function checkHistory(operations: readonly Operation[]): readonly Verdict[] {
  const byKey = Map.groupBy(operations, ({ key }) => key);
  return [...byKey.values()].map((own) => checkKey(own)).filter(({ kind }) => kind !== "explained");
}

/** A verdict for people. */
export function renderVerdict(verdict: Verdict): string {
  if (verdict.kind === "explained") return "explained";
  const lines = verdict.around.map(
    (operation) => `${operation === verdict.operation ? ">" : " "} ${render(operation)}`,
  );
  return [`${verdict.kind}: key ${verdict.operation.key}`, ...lines].join("\n");
}

function render({ client, asked, answer, calledAt, answeredAt }: Operation): string {
  const when = asked.kind === "get" || asked.when.kind === "always" ? "" : ` when ${JSON.stringify(asked.when)}`;
  const what = asked.kind === "put" ? `put ${asked.value}` : asked.kind;
  const told = answer.kind === "saw" ? `saw ${answer.value ?? "nothing"}` : answer.kind;
  return `[${calledAt}, ${answeredAt}] ${client}: ${what}${when} → ${told}`;
}
