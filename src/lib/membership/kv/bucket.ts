import {
  AckPolicy,
  DeliverPolicy,
  jetstream,
  JetStreamApiCodes,
  JetStreamApiError,
  jetstreamManager,
  type JsMsg,
} from "@nats-io/jetstream";
import { headers, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node";
import type { FulaError } from "../../kernel/errors.ts";
import { type Budget, controlPlaneSilent } from "./budget.ts";
import { type BucketKind, bucketName, keys, streamName } from "./buckets.ts";
import type { NatsLink } from "./connect.ts";
import { decodeValue, encodeValue, VALUES, type Values } from "./values.ts";

/** What the KV convention marks a deleted key with, and our number of the change that deleted it. */
const OPERATION = "KV-Operation";
const CHANGE = "Fula-Change";

/**
 * Up to so many records are asked for one by one, all at once. A reader gets more than that faster, but is a thing that the
 * servers have to agree on.
 */
const GETS_MAX = 50;

/** Records that a reader asks for at a time. */
const READER_BATCH = 1_000;

/** So often a reader is opened anew because the server that has it is behind; each time another one may have it. */
const READERS_MAX = 5;

/** A reader that nobody uses any more is forgotten by the server after so long. */
const READER_IDLE_NS = 10_000_000_000;

/** What stands under a key. */
export interface Entry<T> {
  readonly key: string;
  /** 0 where nothing was ever written. */
  readonly revision: number;
  /** Null where there is no record, or no more. */
  readonly value: T | null;
  /** Of a deleted key: the change that deleted it; 0 where nobody said. */
  readonly deletedBy: number;
}

interface Stored {
  readonly key: string;
  readonly revision: number;
  readonly headers: MsgHdrs | undefined;
  readonly text: () => string;
}

function isRaced(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError &&
    (error.code === JetStreamApiCodes.StreamWrongLastSequence ||
      error.code === JetStreamApiCodes.StreamWrongLastSequenceUnknown)
  );
}

/** Reads and writes of one bucket. A write names the revision it takes the place of, and fails where another stands there. */
export class Bucket<K extends BucketKind> {
  readonly name: string;
  readonly stream: string;
  readonly #kind: K;
  readonly #link: Pick<NatsLink, "ask">;

  constructor(link: Pick<NatsLink, "ask">, prefix: string, kind: K) {
    this.#link = link;
    this.#kind = kind;
    this.name = bucketName(prefix, kind);
    this.stream = streamName(prefix, kind);
  }

  subject(key: string): string {
    return `$KV.${this.name}.${key}`;
  }

  /** Asks the stream's leader, never a replica that may be behind. */
  async get(budget: Budget, key: string): Promise<Entry<Values[K]>> {
    const stored = await this.#link.ask(budget, `read bucket ${this.name}`, async (connection, timeout) => {
      const manager = await jetstreamManager(connection, { timeout, checkAPI: false });
      return await manager.streams.getMessage(this.stream, { last_by_subj: this.subject(key) });
    });
    if (stored === null) return { key, revision: 0, value: null, deletedBy: 0 };
    return this.#entry({ key, revision: stored.seq, headers: stored.header, text: () => stored.string() });
  }

  /**
   * Writes a record over the revision that its maker saw, 0 for none.
   * @returns its revision; null where another one stands there by now
   */
  async put(budget: Budget, key: string, value: Values[K], revision: number): Promise<number | null> {
    return await this.publish(budget, key, encodeValue(value), { lastSubjectSequence: revision });
  }

  /** Deletes a record, likewise; what deleted it is kept with the mark that it leaves. */
  async delete(budget: Budget, key: string, change: number, revision: number): Promise<number | null> {
    const marks = headers();
    marks.set(OPERATION, "DEL");
    marks.set(CHANGE, String(change));
    return await this.publish(budget, key, "", { lastSubjectSequence: revision }, marks);
  }

  /** Writes bytes where the stream is as expected. @returns the revision, acknowledged by the quorum; null where it is not */
  async publish(
    budget: Budget,
    key: string,
    text: string,
    expect: { readonly lastSubjectSequence: number; readonly lastSubjectSequenceSubject?: string },
    marks: MsgHdrs = headers(),
  ): Promise<number | null> {
    return await this.#link.ask(budget, `write bucket ${this.name}`, async (connection, timeout) => {
      try {
        const ack = await jetstream(connection).publish(this.subject(key), text, { timeout, expect, headers: marks });
        return ack.seq;
      } catch (error) {
        if (isRaced(error)) return null;
        throw error;
      }
    });
  }

  /**
   * Lists what stands under keys of a pattern, deleted ones too, in no order.
   * @param patience gives the time that the next step may take; a long list may take longer than one question
   * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE where not all of it came
   */
  async list(patience: () => Budget, pattern: string): Promise<readonly Entry<Values[K]>[]> {
    const found = await this.#keysOf(patience(), pattern);
    if (found === null) return await this.#readAll(patience, pattern);
    const budget = patience();
    return await Promise.all(found.map(async (key) => await this.get(budget, key)));
  }

  /** Keys of a pattern; null where there are so many that a reader of the whole stream is the better way. */
  async #keysOf(budget: Budget, pattern: string): Promise<readonly string[] | null> {
    const subjects = await this.#link.ask(budget, `list bucket ${this.name}`, async (connection, timeout) => {
      const { streams } = await jetstreamManager(connection, { timeout, checkAPI: false });
      if (pattern === keys.all) {
        const { state } = await streams.info(this.stream);
        if ((state.num_subjects ?? 0) > GETS_MAX) return null;
      }
      return (await streams.info(this.stream, { subjects_filter: this.subject(pattern) })).state.subjects ?? {};
    });
    const found = Object.keys(subjects ?? {}).map((subject) => subject.slice(this.subject("").length));
    return subjects === null || found.length > GETS_MAX ? null : found;
  }

  /**
   * A reader is on any server that has the stream, and gives what there is on it. So what the leader has newest must be
   * among it: then all that is older is, too.
   */
  async #readAll(patience: () => Budget, pattern: string): Promise<readonly Entry<Values[K]>[]> {
    const newest = await this.#newest(patience(), pattern);
    for (let opened = 0; opened < READERS_MAX; opened += 1) {
      const entries = await this.#readOnce(patience, pattern);
      if (newest === 0 || entries.some(({ revision }) => revision >= newest)) return entries;
    }
    throw incomplete(this.stream);
  }

  async #newest(budget: Budget, pattern: string): Promise<number> {
    return await this.#link.ask(budget, `list bucket ${this.name}`, async (connection, timeout) => {
      const { streams } = await jetstreamManager(connection, { timeout, checkAPI: false });
      return (await streams.getMessage(this.stream, { last_by_subj: this.subject(pattern) }))?.seq ?? 0;
    });
  }

  async #readOnce(patience: () => Budget, pattern: string): Promise<readonly Entry<Values[K]>[]> {
    const what = `list bucket ${this.name}`;
    const reader = await this.#link.ask(
      patience(),
      what,
      async (connection, timeout) => await openReader(connection, timeout, this.stream, this.subject(pattern)),
    );
    const entries: Entry<Values[K]>[] = [];
    for (let left = reader.pending, next = 1; left > 0; ) {
      const batch = await this.#link.ask(
        patience(),
        what,
        async (_connection, timeout) => await reader.read(Math.min(left, READER_BATCH), timeout),
      );
      for (const message of batch) {
        // A message that was lost on the way would be a member who is silently not in the list.
        if (message.info.deliverySequence !== next) throw incomplete(this.stream);
        next += 1;
        const key = message.subject.slice(this.subject("").length);
        const { seq: revision } = message;
        entries.push(this.#entry({ key, revision, headers: message.headers, text: () => message.string() }));
      }
      left = batch.at(-1)?.info.pending ?? 0;
    }
    return entries;
  }

  /** Number of the newest write, also of one that deleted. */
  async lastSequence(budget: Budget): Promise<number> {
    return await this.#link.ask(budget, `look at bucket ${this.name}`, async (connection, timeout) => {
      const manager = await jetstreamManager(connection, { timeout, checkAPI: false });
      return (await manager.streams.info(this.stream)).state.last_seq;
    });
  }

  #entry({ key, revision, headers: marks, text }: Stored): Entry<Values[K]> {
    const operation = marks?.get(OPERATION) ?? "";
    if (operation === "DEL" || operation === "PURGE") {
      return { key, revision, value: null, deletedBy: Number(marks?.get(CHANGE)) || 0 };
    }
    return { key, revision, value: decodeValue(VALUES[this.#kind], text(), this.name, key), deletedBy: 0 };
  }
}

interface Reader {
  /** Messages that there were when it was opened. */
  readonly pending: number;
  /** @throws FulaError where fewer came */
  readonly read: (count: number, timeoutMs: number) => Promise<readonly JsMsg[]>;
}

/** A reader of the newest message of every subject, which the server forgets a little after it was last used. */
async function openReader(
  connection: NatsConnection,
  timeout: number,
  stream: string,
  subject: string,
): Promise<Reader> {
  const manager = await jetstreamManager(connection, { timeout, checkAPI: false });
  const info = await manager.consumers.add(stream, {
    ack_policy: AckPolicy.None,
    deliver_policy: DeliverPolicy.LastPerSubject,
    filter_subject: subject,
    inactive_threshold: READER_IDLE_NS,
    mem_storage: true,
    num_replicas: 1,
  });
  const consumer = jetstream(connection, { timeout }).consumers.getConsumerFromInfo(info);
  return {
    pending: info.num_pending,
    read: async (count, timeoutMs) => {
      const messages: JsMsg[] = [];
      const batch = await consumer.fetch({ max_messages: count, expires: Math.max(1_000, timeoutMs) });
      for await (const message of batch) {
        messages.push(message);
        if (messages.length === count || message.info.pending === 0) break;
      }
      if (messages.length > 0) return messages;
      throw incomplete(stream);
    },
  };
}

function incomplete(stream: string): FulaError {
  return controlPlaneSilent(
    `The control plane did not give all records of ${stream}`,
    "no-quorum",
    "run the command again; fula-master status shows its servers.",
  );
}
