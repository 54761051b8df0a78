import type { CID } from "multiformats/cid";
import { isEmptyBlock } from "../blocks/cid.ts";
import type { Mutation, MutationOutcome, ObjectFacts, WriteCondition } from "./buckets.ts";
import type { BucketMetadata, BucketState } from "./roots/root-pointer.ts";
import type { BucketIndex, IndexChange } from "./tree/bucket-index.ts";
import { checkChange } from "./tree/log-append.ts";
import { etagOf, type ObjectEntry } from "./tree/object-entry.ts";

/** What a condition says of the object as it is; null where it holds. */
export function judge(
  condition: WriteCondition | null,
  present: ObjectFacts | null,
): Exclude<MutationOutcome, { kind: "done" }> | null {
  if (condition === null) return null;
  const { ifMatch, ifNoneMatch } = condition;
  if (ifMatch !== null) {
    if (present === null) return { kind: "no-such-key" };
    if (ifMatch !== "*" && !ifMatch.includes(etagOf(present))) return { kind: "condition-failed", present };
  }
  if (ifNoneMatch !== null && present !== null) {
    if (ifNoneMatch === "*" || ifNoneMatch.includes(etagOf(present))) return { kind: "condition-failed", present };
  }
  return null;
}

/** One key that a draft has looked at. */
interface Touched {
  /** As the root has it. */
  readonly before: ObjectFacts | null;
  /** As the draft has it; the same object as `before` where nothing was changed. */
  readonly now: ObjectFacts | null;
  /** The whole new entry; null where it is deleted or still that of the root. */
  readonly entry: ObjectEntry | null;
}

/**
 * A bucket as it becomes by the mutations of one flush: each is judged on what those before it have made of it. Holds
 * what changes, and reads of the root only what is asked for.
 */
export class Draft {
  readonly #index: BucketIndex;
  readonly #touched = new Map<string, Touched>();
  #objectCount: bigint;
  #totalBytes: bigint;
  #metadata: BucketMetadata;
  #isMetadataNew = false;

  constructor(state: BucketState, index: BucketIndex) {
    this.#index = index;
    this.#objectCount = state.objectCount;
    this.#totalBytes = state.totalBytes;
    this.#metadata = state.metadata;
  }

  get objectCount(): bigint {
    return this.#objectCount;
  }

  get totalBytes(): bigint {
    return this.#totalBytes;
  }

  get metadata(): BucketMetadata {
    return this.#metadata;
  }

  /** True where the root must move. */
  get isChanged(): boolean {
    return this.#isMetadataNew || this.changes().length > 0;
  }

  setMetadata(update: (present: BucketMetadata) => BucketMetadata): void {
    this.#metadata = update(this.#metadata);
    this.#isMetadataNew = true;
  }

  /**
   * Makes the mutations of one caller, or none of them where one cannot even be judged.
   * @throws what reading the index throws, and what an `update` throws
   */
  async apply(mutations: readonly Mutation[]): Promise<readonly MutationOutcome[]> {
    const undo = mutations.map(({ key }) => [key, this.#touched.get(key)] as const);
    try {
      // Read together what they need, and judge one after the other.
      await Promise.all([...new Set(mutations.map(({ key }) => key))].map(async (key) => await this.#look(key)));
      const outcomes: MutationOutcome[] = [];
      for (const mutation of mutations) outcomes.push(await this.#mutate(mutation));
      return outcomes;
    } catch (error) {
      for (const [key, touched] of undo) this.#restore(key, touched);
      throw error;
    }
  }

  /** What the new root has that the old one has not, by key. */
  changes(): readonly IndexChange[] {
    const changes: IndexChange[] = [];
    for (const [key, { before, now, entry }] of this.#touched) {
      if (entry !== null) changes.push({ key, entry });
      else if (before !== null && now === null) changes.push({ key, entry: null });
    }
    return changes;
  }

  /** Contents that the new root refers to by its changes. */
  claims(): readonly CID[] {
    return this.changes().flatMap(({ entry }) =>
      entry === null || isEmptyBlock(entry.content) ? [] : [entry.content],
    );
  }

  /** Contents that lose the reference of a key. */
  replaced(): readonly CID[] {
    const contents: CID[] = [];
    for (const { before, now } of this.#touched.values()) {
      if (before === null || before === now || isEmptyBlock(before.content)) continue;
      if (now === null || !now.content.equals(before.content)) contents.push(before.content);
    }
    return contents;
  }

  async #look(key: string): Promise<Touched> {
    const known = this.#touched.get(key);
    if (known !== undefined) return known;
    const before = await this.#index.findRef(key);
    const touched = this.#touched.get(key) ?? { before, now: before, entry: null };
    this.#touched.set(key, touched);
    return touched;
  }

  async #mutate({ key, change, condition }: Mutation): Promise<MutationOutcome> {
    const { now: present } = await this.#look(key);
    const refusal = judge(condition, present);
    if (refusal !== null) return refusal;
    if (change.kind === "put") {
      checkChange({ key, entry: change.entry });
      this.#set(key, change.entry);
      return { kind: "done", previous: present, entry: change.entry };
    }
    if (change.kind === "delete") {
      this.#set(key, null);
      return { kind: "done", previous: present, entry: null };
    }
    const presentEntry = await this.#presentEntry(key);
    if (presentEntry === null) return { kind: "no-such-key" };
    const entry = change.update(presentEntry);
    checkChange({ key, entry });
    this.#set(key, entry);
    return { kind: "done", previous: present, entry };
  }

  async #presentEntry(key: string): Promise<ObjectEntry | null> {
    const touched = await this.#look(key);
    if (touched.now === null || touched.entry !== null) return touched.entry;
    return (await this.#index.find(key))?.entry ?? null;
  }

  #set(key: string, entry: ObjectEntry | null): void {
    const touched = this.#touched.get(key);
    if (touched === undefined) throw new Error(`A draft changes ${JSON.stringify(key)} before it has looked at it`);
    this.#replace(key, touched.now, { before: touched.before, now: entry, entry });
  }

  #restore(key: string, to: Touched | undefined): void {
    const touched = this.#touched.get(key);
    if (touched === undefined) return;
    this.#replace(key, touched.now, to ?? { before: touched.before, now: touched.before, entry: null });
  }

  #replace(key: string, from: ObjectFacts | null, to: Touched): void {
    this.#objectCount += (to.now === null ? 0n : 1n) - (from === null ? 0n : 1n);
    this.#totalBytes += BigInt(to.now?.sizeBytes ?? 0) - BigInt(from?.sizeBytes ?? 0);
    this.#touched.set(key, to);
  }
}
