import type { Subscription } from "@nats-io/transport-node";
import {
  LEDGER_RECORD_SCHEMAS,
  type LedgerRecordKind,
  type LedgerRecords,
  type LedgerStore,
  type Versioned,
} from "../ledger-records.ts";
import { bootstrapBuckets } from "./bootstrap.ts";
import { Bucket, type Entry } from "./bucket.ts";
import { type Budget, controlPlaneSilent } from "./budget.ts";
import { keys } from "./buckets.ts";
import { NatsLink } from "./connect.ts";
import type { KvDeps, KvTarget } from "./target.ts";
import { checkValue, type LedgerValue } from "./values.ts";

/** So often a record is read again that somebody else changed while it was being confirmed. */
const CONFIRM_PASSES = 50;
const CONFIRM_PAUSE_MS = 10;
/** A hint comes with the write, which the quorum takes a moment longer to agree on: more follow after such pauses. */
const HINT_ECHOES_MS = [20, 30, 50, 100, 300, 1_000];
/** Before a subscription that was lost is made anew. */
const LISTEN_PAUSE_MS = 500;

/**
 * Opens what the control plane on NATS JetStream knows of the ledger's servers; its bucket is made where it is not there.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE after `bootstrapTimeoutMs`, FULA_CONTROL_PLANE_UNFIT
 */
export async function openKvLedgerStore(target: KvTarget, deps: KvDeps): Promise<LedgerStore> {
  const link = new NatsLink(target, deps);
  try {
    await bootstrapBuckets(link, target, deps, async () => {});
    return new KvLedgerStore(link, target, deps);
  } catch (error) {
    await link.close();
    throw error;
  }
}

class KvLedgerStore implements LedgerStore {
  readonly #link: NatsLink;
  readonly #timeoutMs: number;
  readonly #bucket: Bucket<"ledger">;
  readonly #deps: Pick<KvDeps, "clock" | "signal">;

  constructor(link: NatsLink, { prefix, timeoutMs }: KvTarget, deps: KvDeps) {
    this.#link = link;
    this.#timeoutMs = timeoutMs;
    this.#deps = deps;
    this.#bucket = new Bucket(link, prefix, "ledger");
  }

  async get<K extends LedgerRecordKind>(kind: K, node?: string): Promise<Versioned<LedgerRecords[K]>> {
    return await this.#read(this.#patience(), kind, node);
  }

  async confirm<K extends LedgerRecordKind>(kind: K, node?: string): Promise<Versioned<LedgerRecords[K]>> {
    const budget = this.#patience();
    for (let pass = 0; pass < CONFIRM_PASSES; pass += 1) {
      const seen = await this.#read(budget, kind, node);
      const stamp = await this.#bucket.publish(budget, keys.stamp, "{}", {
        lastSubjectSequence: seen.revision,
        lastSubjectSequenceSubject: this.#bucket.subject(keys.ledger(kind, node)),
      });
      if (stamp !== null) return seen;
      await budget.wait("come to rest", async () => await this.#deps.clock.sleep(CONFIRM_PAUSE_MS));
    }
    throw controlPlaneSilent(
      `The control plane confirmed nothing of the ledger's ${kind} that was not outdated`,
      "no-quorum",
      "fula-master status shows its servers: more than half of them must run and reach one another.",
    );
  }

  async put<K extends LedgerRecordKind>(
    kind: K,
    value: LedgerRecords[K],
    expectedRevision: number,
    node?: string,
  ): Promise<number | null> {
    return await this.#bucket.put(
      this.#patience(),
      keys.ledger(kind, node),
      { kind, record: LEDGER_RECORD_SCHEMAS[kind].parse(value) },
      expectedRevision,
    );
  }

  async remove(kind: LedgerRecordKind, expectedRevision: number, node?: string): Promise<boolean> {
    const revision = await this.#bucket.delete(this.#patience(), keys.ledger(kind, node), 0, expectedRevision);
    return revision !== null;
  }

  async list<K extends LedgerRecordKind>(
    kind: K,
  ): Promise<readonly { readonly node: string; readonly revision: number; readonly value: LedgerRecords[K] }[]> {
    const budget = this.#patience();
    const entries = await this.#bucket.list(() => budget, keys.ledgerOf(kind));
    return entries
      .flatMap((entry) => {
        const { revision, value } = this.#versioned(kind, entry);
        return value === null ? [] : [{ node: keys.nodeOf(entry.key), revision, value }];
      })
      .toSorted((a, b) => (a.node < b.node ? -1 : 1));
  }

  listen(onHint: () => void): AsyncDisposable {
    const end = new AbortController();
    let subscription: Subscription | null = null;
    const listening = this.#listen(onHint, end.signal, (made) => {
      subscription = made;
    });
    return {
      [Symbol.asyncDispose]: async () => {
        end.abort();
        subscription?.unsubscribe();
        await listening;
      },
    };
  }

  async close(): Promise<void> {
    await this.#link.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  readonly #patience = (): Budget => this.#link.budget(this.#timeoutMs);

  async #read<K extends LedgerRecordKind>(
    budget: Budget,
    kind: K,
    node: string | undefined,
  ): Promise<Versioned<LedgerRecords[K]>> {
    return this.#versioned(kind, await this.#bucket.get(budget, keys.ledger(kind, node)));
  }

  /** What is written to a stream goes to whoever subscribes to its subjects, too, through all servers. */
  async #listen(onHint: () => void, signal: AbortSignal, onMade: (made: Subscription) => void): Promise<void> {
    const { clock } = this.#deps;
    let last = 0;
    while (!signal.aborted && !this.#deps.signal.aborted) {
      try {
        const made = await this.#link.ask(this.#patience(), "tell of changes", async (connection) =>
          connection.subscribe(this.#bucket.subject(keys.all)),
        );
        onMade(made);
        if (signal.aborted) made.unsubscribe();
        // Whatever happened while nobody listened.
        onHint();
        for await (const message of made) {
          if (message.subject === this.#bucket.subject(keys.stamp)) continue;
          last += 1;
          const own = last;
          void this.#echo(onHint, () => own === last && !signal.aborted);
        }
      } catch {
        // Nobody is told of it: hints may be missing at any time.
      }
      await clock.sleep(LISTEN_PAUSE_MS, signal).catch(() => {});
    }
  }

  #versioned<K extends LedgerRecordKind>(kind: K, entry: Entry<LedgerValue>): Versioned<LedgerRecords[K]> {
    const { key, revision, value } = entry;
    if (value === null) return { revision, value };
    return { revision, value: checkValue(LEDGER_RECORD_SCHEMAS[kind], value.record, this.#bucket.name, key) };
  }

  async #echo(onHint: () => void, isLast: () => boolean): Promise<void> {
    onHint();
    for (const pauseMs of HINT_ECHOES_MS) {
      await this.#deps.clock.sleep(pauseMs);
      if (!isLast()) return;
      onHint();
    }
  }
}
