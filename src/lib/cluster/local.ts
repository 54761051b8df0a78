import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import { setImmediate as nextTurn } from "node:timers/promises";
import { crc32 } from "node:zlib";
import type { BlockStore } from "../blocks/block-store.ts";
import { parseCid } from "../blocks/cid.ts";
import { checkDag, type DagCheck } from "../blocks/dag.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { mapOrdered } from "../kernel/map-ordered.ts";
import {
  corruptPinset,
  createPinDatabase,
  explainPinsetError,
  fileIdentity,
  missingPinset,
  openPinDatabase,
  pinDatabaseExists,
  retryWhileBusy,
} from "./pin-database.ts";
import { parsePin } from "./pin-schema.ts";
import {
  type ClusterPeer,
  EVERY_PEER,
  type PeerPinStatus,
  type Pin,
  type PinCluster,
  type PinStatus,
  type StatusOptions,
} from "./pins.ts";

/** What a pinset file needs to be opened. */
export interface LocalClusterOptions {
  readonly dbFile: string;
  readonly clusterId: string;
  /** The one peer of this cluster: this box. */
  readonly peerId: string;
  readonly blocks: BlockStore;
  readonly clock: Clock;
  /**
   * True makes an empty pinset where there is none. Default false: who only reads, or expects pins to be there, must
   * not turn a lost file into an empty pinset that looks well.
   */
  readonly create?: boolean;
}

/** The pinset of an embedded master: one SQLite file, and this box as its only peer. */
export interface LocalCluster extends PinCluster, AsyncDisposable {
  /** Waits for writes that were begun, then closes the file. */
  close(): Promise<void>;
}

/** A listing lets others run after that many rows. */
const ROWS_PER_TURN = 256;

/** Status listings read that many rows at once, so that a long sweep holds no read transaction open. */
const STATUS_PAGE_ROWS = 500;

/** How many DAGs are looked at at the same time. */
const DAGS_AT_ONCE = 8;

/** How many writes one transaction takes at most: about 1 MB of records. */
const WRITES_PER_TRANSACTION_MAX = 1_000;

interface PendingWrite {
  readonly run: (db: DatabaseSync) => void;
  readonly settle: (error: unknown) => void;
}

/** Opens the pinset of an embedded master. Several processes may have it open at the same time. @throws FulaError FULA_PINSET_* */
export async function openLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const { dbFile, clusterId, clock } = options;
  if (!(await pinDatabaseExists(dbFile))) {
    if (options.create !== true) throw missingPinset(dbFile);
    await createPinDatabase(dbFile, clusterId, clock);
  }
  const db = await retryWhileBusy(dbFile, clock, () => openPinDatabase(dbFile, clusterId));
  return new SqliteCluster(options, db);
}

class SqliteCluster implements LocalCluster {
  readonly clusterId: string;
  readonly sorted = true;
  readonly assignedFields = [];
  readonly defaultFactors = EVERY_PEER;
  readonly #options: LocalClusterOptions;
  readonly #db: DatabaseSync;
  readonly #file: string | null;
  #pending: PendingWrite[] = [];
  #writing: Promise<void> | null = null;

  constructor(options: LocalClusterOptions, db: DatabaseSync) {
    this.clusterId = options.clusterId;
    this.#options = options;
    this.#db = db;
    this.#file = fileIdentity(options.dbFile);
  }

  async *pins(signal?: AbortSignal): AsyncGenerator<Pin> {
    const { dbFile, clusterId } = this.#options;
    const reader = await this.#run(() => openPinDatabase(dbFile, clusterId), signal);
    try {
      reader.exec("pragma query_only = on");
      yield* this.#listPins(reader, signal);
    } catch (error) {
      throw explainPinsetError(error, dbFile);
    } finally {
      reader.close();
    }
  }

  async *#listPins(reader: DatabaseSync, signal: AbortSignal | undefined): AsyncGenerator<Pin> {
    // One read transaction: the listing is the pinset of one moment, whoever writes meanwhile.
    reader.exec("begin");
    const expected = Number(reader.prepare("select count(*) as pins from pins").get()?.["pins"]);
    let given = 0;
    for (const row of reader.prepare("select cid, record, crc from pins order by cid").iterate()) {
      yield this.#pinOf(row);
      given += 1;
      if (given % ROWS_PER_TURN === 0) {
        signal?.throwIfAborted();
        await nextTurn();
      }
    }
    if (given !== expected) {
      throw corruptPinset(this.#options.dbFile, `its index counts ${expected} pins, its rows ${given}`);
    }
  }

  async count(signal?: AbortSignal): Promise<number> {
    const row = await this.#run(() => this.#db.prepare("select count(*) as pins from pins").get(), signal);
    return Number(row?.["pins"]);
  }

  async pin(cid: string, signal?: AbortSignal): Promise<Pin | null> {
    const key = parseCid(cid).toString();
    const row = await this.#run(
      () => this.#db.prepare("select cid, record, crc from pins where cid = ?").get(key),
      signal,
    );
    return row === undefined ? null : this.#pinOf(row);
  }

  asStored(pin: Pin): Pin {
    const checked = parsePin(pin);
    return { ...checked, cid: parseCid(checked.cid).toString() };
  }

  async put(pin: Pin): Promise<void> {
    const stored = this.asStored(pin);
    const { cid } = stored;
    const record = JSON.stringify(stored);
    await this.#write((db) =>
      db
        .prepare(
          `insert into pins (cid, record, crc) values (?, ?, ?)
           on conflict (cid) do update set record = excluded.record, crc = excluded.crc`,
        )
        .run(cid, record, crc32(record)),
    );
  }

  async remove(cid: string): Promise<boolean> {
    const key = parseCid(cid).toString();
    let removed = false;
    await this.#write((db) => {
      removed = db.prepare("delete from pins where cid = ?").run(key).changes === 1;
    });
    return removed;
  }

  async *statuses(options: StatusOptions = {}): AsyncGenerator<PinStatus> {
    yield* mapOrdered(this.#pagedPins(options.signal), DAGS_AT_ONCE, async (pin) => this.#statusOf(pin, options));
  }

  async *#pagedPins(signal: AbortSignal | undefined): AsyncGenerator<Pin> {
    const page = this.#db.prepare("select cid, record, crc from pins where cid > ? order by cid limit ?");
    for (let after: string | null = ""; after !== null; ) {
      const from: string = after;
      const rows = await this.#run(() => page.all(from, STATUS_PAGE_ROWS), signal);
      after = null;
      for (const row of rows) {
        const pin = this.#pinOf(row);
        after = pin.cid;
        yield pin;
      }
    }
  }

  async status(cid: string, options: StatusOptions = {}): Promise<PinStatus | null> {
    const pin = await this.pin(cid);
    return pin === null ? null : this.#statusOf(pin, options);
  }

  async recover(cid: string): Promise<void> {
    // This box is the only peer: there is nobody to fetch blocks from, and the next status looks at the disk anyway.
    parseCid(cid);
  }

  async peers(): Promise<readonly ClusterPeer[]> {
    const { peerId: id } = this.#options;
    const unknown = { name: "", error: "", kuboId: null, addresses: [], kuboAddresses: [] };
    return [{ id, isSelf: true, state: "answers", ...unknown }];
  }

  async close(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
    if (this.#db.isOpen) this.#db.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #statusOf(pin: Pin, options: StatusOptions): Promise<PinStatus> {
    const { blocks, peerId: peer } = this.#options;
    const check = await checkDag(parseCid(pin.cid), blocks, {
      recursive: pin.mode === "recursive",
      deep: options.deep === true,
      signal: options.signal,
    });
    return { cid: pin.cid, name: pin.name, peers: [{ peer, ...judge(check) }] };
  }

  #pinOf(row: Record<string, SQLOutputValue>): Pin {
    const { cid, record, crc } = row;
    const { dbFile } = this.#options;
    if (typeof record !== "string" || crc32(record) !== crc) {
      throw corruptPinset(dbFile, `the record of ${String(cid)} does not match its checksum`);
    }
    const pin: unknown = JSON.parse(record);
    if (!isOurRecord(pin) || pin.cid !== cid) {
      throw corruptPinset(dbFile, `the record of ${String(cid)} is another one's`);
    }
    return pin;
  }

  async #run<T>(operation: () => T, signal?: AbortSignal): Promise<T> {
    const { dbFile, clock } = this.#options;
    // An operator who moved the file away and restored another would lose what we go on writing into the old one.
    const file = fileIdentity(dbFile);
    if (file === null) throw missingPinset(dbFile);
    if (file !== this.#file) {
      throw new FulaError(
        "FULA_PINSET_MISSING",
        `The pinset file ${dbFile} was replaced while this process had it open.`,
        {
          hint: "restart what runs here: fula-master stop, then fula-master serve (or the service that starts it).",
          details: { path: dbFile },
        },
      );
    }
    return retryWhileBusy(dbFile, clock, operation, signal);
  }

  /** Writes that arrive together share one transaction, and with it one wait for the disk. */
  async #write(run: (db: DatabaseSync) => void): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#pending.push({
      run,
      settle: (error) => {
        if (error === null) done.resolve();
        else done.reject(error);
      },
    });
    this.#writing ??= this.#drain();
    await done.promise;
  }

  async #drain(): Promise<void> {
    await nextTurn();
    while (this.#pending.length > 0) {
      const batch = this.#pending.slice(0, WRITES_PER_TRANSACTION_MAX);
      this.#pending = this.#pending.slice(batch.length);
      let failure: unknown = null;
      try {
        await this.#run(() => commitTogether(this.#db, batch));
      } catch (error) {
        failure = error;
      }
      for (const { settle } of batch) settle(failure);
      // Those who waited may have more to write; it goes into the next transaction.
      await nextTurn();
    }
    this.#writing = null;
  }
}

function commitTogether(db: DatabaseSync, batch: readonly PendingWrite[]): void {
  db.exec("begin immediate");
  try {
    for (const { run } of batch) run(db);
    db.exec("commit");
  } catch (error) {
    // A full disk makes SQLite roll back by itself.
    if (db.isTransaction) db.exec("rollback");
    throw error;
  }
}

/** Its checksum says that the record is as `put` wrote it, and `put` writes checked pins alone. */
function isOurRecord(value: unknown): value is Pin {
  return typeof value === "object" && value !== null && "cid" in value;
}

function judge(check: DagCheck): { readonly status: PeerPinStatus; readonly error: string } {
  if (check.unreadable > 0) {
    const rest = check.unreadable === 1 ? "" : ` (and ${check.unreadable - 1} more)`;
    return { status: "pin_error", error: `${check.firstError ?? "a block is unreadable"}${rest}` };
  }
  if (check.missing > 0) {
    return {
      status: "unexpectedly_unpinned",
      error: `${check.missing} of ${check.blocks} blocks not here, such as ${check.firstMissing ?? "unknown"}`,
    };
  }
  return { status: "pinned", error: "" };
}
