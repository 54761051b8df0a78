import { join } from "node:path";
import type { Clock } from "../../kernel/clock.ts";
import { FulaError, isFulaError, messageOf } from "../../kernel/errors.ts";
import { ensureDir, exists } from "../../kernel/files.ts";
import { acquireLock } from "../../kernel/lock.ts";
import type { Log } from "../../kernel/log.ts";
import type { ConnectionOptions } from "../../postgres/pool.ts";
import { formatLsn, type Lsn, parseLsn, segmentOf, segmentStart, walFileName } from "../lsn.ts";
import { parseHistory, type TimelineEnd } from "../timeline-history.ts";
import { type CopyStream, openReplication, type ReplicationSession } from "./replication.ts";
import type { BackupPlace } from "./take-backup.ts";
import { archiveDir, type ArchiveListing, claimArchive, listArchive, PARTIAL_SUFFIX } from "./wal-archive.ts";
import { type ArchivedStart, clearPartials, WalWriter, writeHistory } from "./wal-writer.ts";

/** The slot by which a server keeps what is not archived yet. */
const ARCHIVE_SLOT = "fula_archive";

/** What archiving needs. */
export interface WalArchiverDeps extends BackupPlace {
  /** Asked for each attempt: the server, a role with REPLICATION, the ledger's database. */
  readonly connection: () => Promise<ConnectionOptions>;
  readonly clock: Clock;
  readonly log: Log;
  /** How long received WAL may lie in memory alone, in milliseconds. Default 1,000. */
  readonly syncMs?: number;
}

/** What an archiver is at. */
export type ArchiverState =
  | { readonly status: "starting" }
  | {
      readonly status: "streaming";
      readonly timeline: number;
      readonly durableLsn: Lsn;
      /** How far the server is, as it said last. */
      readonly serverLsn: Lsn;
    }
  | { readonly status: "retrying"; readonly because: string; readonly code: string | null };

/** An archiver at work. */
export interface WalArchiver extends AsyncDisposable {
  state(): ArchiverState;
  /** How often it had to begin anew. */
  interruptions(): number;
}

const SYNC_MS = 1_000;
/** It is asked to say something with each status: one that says nothing for so long does not answer any more. */
const SILENT_MS = 60_000;
const RETRY_MS = [250, 1_000, 2_000, 5_000, 10_000, 30_000] as const;
/** SQLSTATE undefined_file: the server has removed the segment. */
const REMOVED = "58P01";

/** Kinds of messages: https://www.postgresql.org/docs/current/protocol-replication.html */
const WAL_DATA = 0x77;
const KEEPALIVE = 0x6b;
const WAL_HEAD_BYTES = 25;
const WAL_END_AT = 9;
const STATUS = 0x72;
const STATUS_BYTES = 34;
const STATUS_REPLY_AT = 33;
/** Of the protocol's clock: 2000-01-01, in milliseconds since the Unix epoch. */
const POSTGRES_EPOCH_MS = 946_684_800_000n;

/** Where to go on. */
interface ArchivePosition {
  readonly timeline: number;
  readonly lsn: Lsn;
  /** The one under whose name the archive ends there; missing where it does not. */
  readonly archivedOn?: number;
}

/**
 * Receives a server's WAL into the archive for as long as it lives, and starts anew with growing pauses where it cannot.
 * The server keeps what was not received, by a slot; nothing counts as received before it is on the disk.
 */
export function startWalArchiver(deps: WalArchiverDeps): WalArchiver {
  const end = new AbortController();
  const archiver = new Archiver(deps, end.signal);
  const running = archiver.run();
  return {
    state: () => archiver.state,
    interruptions: () => archiver.interruptions,
    [Symbol.asyncDispose]: async () => {
      end.abort(new Error("Archiving was ended"));
      await running;
    },
  };
}

class Archiver {
  state: ArchiverState = { status: "starting" };
  interruptions = 0;
  readonly #deps: WalArchiverDeps;
  readonly #signal: AbortSignal;
  /** Where the archive ends and the server said that it has no more; the hole then stands in every listing. */
  #goneLsn: Lsn | null = null;
  /** Where the archive ends with a segment, of which the server has nothing more that could be compared. */
  #unprovenLsn: Lsn | null = null;

  constructor(deps: WalArchiverDeps, signal: AbortSignal) {
    this.#deps = deps;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const { clock, log } = this.#deps;
    for (let attempt = 0; !this.#signal.aborted; attempt += 1) {
      try {
        await this.#archive(() => {
          attempt = 0;
        });
      } catch (error) {
        if (this.#signal.aborted) return;
        const code = isFulaError(error) ? error.code : null;
        this.state = { status: "retrying", because: messageOf(error), code };
        this.interruptions += 1;
        log.warn("archive.interrupted", { code, message: messageOf(error), attempt: attempt + 1 });
      }
      const pauseMs = RETRY_MS[Math.min(attempt, RETRY_MS.length - 1)] ?? 0;
      // It rejects where we are to end.
      await clock.sleep(pauseMs, this.#signal).catch(() => {});
    }
  }

  async #archive(onProgress: () => void): Promise<void> {
    const { backupDir, locksDir, clock } = this.#deps;
    const dir = archiveDir(backupDir);
    await ensureDir(dir);
    using _ = await acquireLock(join(locksDir, "wal-archive.lock"), "archive the write-ahead log", clock);
    await using session = await openReplication(await this.#deps.connection(), clock, this.#signal);
    const server = await session.identify();
    const [segment] = await session.rows("select setting from pg_settings where name = 'wal_segment_size'");
    const segmentBytes = Number(segment?.[0]);
    await claimArchive(dir, server.systemId, segmentBytes);
    await clearPartials(dir, segmentBytes);
    for (;;) {
      const position = await this.#findPosition(session, dir);
      if (!(await this.#receive(session, dir, position, segmentBytes, onProgress))) return;
    }
  }

  /** At the end of what is archived of the server's own history; where that is gone there, from where its slot keeps it. */
  async #findPosition(session: ReplicationSession, dir: string): Promise<ArchivePosition> {
    const { timeline } = await session.identify();
    const slot = await ensureSlot(session);
    const ancestors = timeline === 1 ? [] : await fetchHistory(session, dir, timeline);
    const listing = await listArchive(this.#deps.backupDir);
    const archived = listing === null ? null : endOnPath(listing, [...ancestors, { timeline, endLsn: null }]);
    const isGone = archived !== null && archived.lsn === this.#goneLsn && archived.lsn < slot.lsn;
    return archived === null || isGone ? slot : archived;
  }

  /** @returns false where the server ended the stream for good; true where its timeline ended and another goes on */
  async #receive(
    session: ReplicationSession,
    dir: string,
    position: ArchivePosition,
    segmentBytes: number,
    onProgress: () => void,
  ): Promise<boolean> {
    const { clock, log } = this.#deps;
    const { timeline, lsn } = position;
    const endsWithSegment = position.archivedOn === timeline && lsn % BigInt(segmentBytes) === 0n;
    // At least a part of what is archived is received again: the same server sends the same.
    const isAgain = endsWithSegment && lsn !== this.#unprovenLsn;
    const startLsn = segmentStart(segmentOf(isAgain ? lsn - 1n : lsn, segmentBytes), segmentBytes);
    const stream = session.copy(
      `START_REPLICATION SLOT "${ARCHIVE_SLOT}" PHYSICAL ${formatLsn(startLsn)} TIMELINE ${timeline}`,
    );
    log.info("archive.streaming", { timeline, from: formatLsn(startLsn) });
    const begun = await archivedStart(dir, position, startLsn, segmentBytes);
    await using writer = new WalWriter(dir, timeline, startLsn, segmentBytes, begun);
    await using syncer = new Syncer(writer, stream, { clock, syncMs: this.#deps.syncMs ?? SYNC_MS, againUpTo: lsn });
    try {
      for (let message = await stream.next(); message !== null; message = await stream.next()) {
        await syncer.take(message);
        this.state = {
          status: "streaming",
          timeline,
          durableLsn: writer.durableLsn,
          serverLsn: syncer.serverLsn > writer.writtenLsn ? syncer.serverLsn : writer.writtenLsn,
        };
        onProgress();
      }
      await syncer.sync();
    } catch (error) {
      const explained = explainRemoved(error, timeline, startLsn);
      if (!isFulaError(explained, "FULA_WAL_ARCHIVE_HOLE")) throw explained;
      if (isAgain) this.#unprovenLsn = lsn;
      else this.#goneLsn = lsn;
      throw explained;
    }
    const next = stream.results.at(-1)?.[0]?.[0];
    if (typeof next !== "string") return false;
    log.info("archive.timeline_ended", { timeline, next });
    return true;
  }
}

/** Brings what came to the disk from time to time, and tells the server, which then lets go of it. */
class Syncer implements AsyncDisposable {
  readonly #writer: WalWriter;
  readonly #stream: CopyStream;
  readonly #clock: Clock;
  readonly #againUpTo: Lsn;
  readonly #ended = new AbortController();
  #turn: Promise<void> = Promise.resolve();
  #failure: unknown = null;
  #heardMs: number;
  /** How far the server said that it is. */
  serverLsn: Lsn = 0n;

  /** @param options `againUpTo`: what comes below is archived already, and is only compared */
  constructor(
    writer: WalWriter,
    stream: CopyStream,
    { clock, syncMs, againUpTo }: { readonly clock: Clock; readonly syncMs: number; readonly againUpTo: Lsn },
  ) {
    this.#againUpTo = againUpTo;
    this.#writer = writer;
    this.#stream = stream;
    this.#clock = clock;
    this.#heardMs = clock.monotonicMs();
    void this.#tick(syncMs);
  }

  async take(message: Buffer): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    this.#heardMs = this.#clock.monotonicMs();
    if (message[0] === WAL_DATA) {
      const startLsn = message.readBigUInt64BE(1);
      this.serverLsn = message.readBigUInt64BE(WAL_END_AT);
      await this.#next(async () => {
        await this.#writer.write(startLsn, message.subarray(WAL_HEAD_BYTES));
      });
    } else if (message[0] === KEEPALIVE && message.at(-1) === 1) {
      await this.sync();
    }
  }

  async sync(): Promise<void> {
    await this.#next(async () => {
      await this.#writer.sync();
      const { writtenLsn, durableLsn } = this.#writer;
      // 0 says nothing: the slot must not go back to what is archived, nor on before that was compared.
      const toldLsn = durableLsn < this.#againUpTo ? 0n : durableLsn;
      this.#stream.send(statusOf(writtenLsn, toldLsn, this.#clock.nowMs()));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#turn.catch(() => {});
  }

  /** One at a time. */
  async #next(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    await turn;
  }

  #assertHeard(): void {
    const silentMs = this.#clock.monotonicMs() - this.#heardMs;
    // What has come and waits to be written is an answer as well.
    if (silentMs < SILENT_MS || !this.#stream.isDrained) return;
    throw new FulaError(
      "FULA_DATABASE_UNREACHABLE",
      `The server has said nothing for ${Math.round(silentMs / 1_000)} s; archiving begins anew.`,
      { hint: "fula-master status shows whether the server of this box answers." },
    );
  }

  async #tick(syncMs: number): Promise<void> {
    try {
      for (;;) {
        await this.#clock.sleep(syncMs, this.#ended.signal);
        this.#assertHeard();
        await this.sync();
      }
    } catch (error) {
      if (this.#ended.signal.aborted) return;
      this.#failure = error;
      this.#stream.handleError(error);
    }
  }
}

function statusOf(writtenLsn: Lsn, durableLsn: Lsn, nowMs: number): Buffer {
  const status = Buffer.alloc(STATUS_BYTES);
  status.writeUInt8(STATUS, 0);
  status.writeBigUInt64BE(writtenLsn, 1);
  status.writeBigUInt64BE(durableLsn, 9);
  // Applied: nothing is, and a slot asks for what is flushed.
  status.writeBigUInt64BE(0n, 17);
  status.writeBigInt64BE((BigInt(Math.round(nowMs)) - POSTGRES_EPOCH_MS) * 1_000n, 25);
  status.writeUInt8(1, STATUS_REPLY_AT);
  return status;
}

function explainRemoved(error: unknown, timeline: number, startLsn: Lsn): unknown {
  if (!(error instanceof Error) || !("code" in error) || error.code !== REMOVED) return error;
  return new FulaError(
    "FULA_WAL_ARCHIVE_HOLE",
    `The server has removed the WAL from ${formatLsn(startLsn)} of timeline ${timeline} on before it was archived.`,
    {
      cause: error,
      hint: "archiving goes on from what the server still has; take a base backup, which needs nothing older: fula-master backup create",
    },
  );
}

/** A stretch of the server's history; null where it has not ended. */
interface PathPart {
  readonly timeline: number;
  readonly endLsn: Lsn | null;
}

/** Where the archive ends on the server's history; null where it has nothing of that. */
export function endOnPath(
  { ranges }: Pick<ArchiveListing, "ranges">,
  path: readonly PathPart[],
): ArchivePosition | null {
  for (const [index, { timeline, endLsn }] of [...path.entries()].toReversed()) {
    const ends = ranges.filter((range) => range.timeline === timeline).map((range) => range.endLsn);
    if (ends.length === 0) continue;
    const archived = ends.reduce((most, end) => (end > most ? end : most));
    if (endLsn === null || archived < endLsn) return { timeline, lsn: archived, archivedOn: timeline };
    // All of it is there, and perhaps what the server does not count as its history: the next one begins at its end.
    return { timeline: path[index + 1]?.timeline ?? timeline, lsn: endLsn, archivedOn: timeline };
  }
  return null;
}

/** What is archived of the segment in which a timeline begins, under the name of the one before. */
async function archivedStart(
  dir: string,
  { timeline, lsn, archivedOn }: ArchivePosition,
  startLsn: Lsn,
  segmentBytes: number,
): Promise<ArchivedStart | null> {
  if (archivedOn === undefined || archivedOn === timeline || lsn === startLsn) return null;
  const whole = join(dir, walFileName(archivedOn, startLsn, segmentBytes));
  const path = (await exists(whole)) ? whole : `${whole}${PARTIAL_SUFFIX}`;
  return (await exists(path)) ? { path, bytes: Number(lsn - startLsn) } : null;
}

async function fetchHistory(
  session: ReplicationSession,
  dir: string,
  timeline: number,
): Promise<readonly TimelineEnd[]> {
  const [row] = await session.rows(`TIMELINE_HISTORY ${timeline}`);
  const text = row?.[1];
  if (typeof text !== "string") throw new Error(`the server has no history of its timeline ${timeline}`);
  await writeHistory(dir, timeline, text);
  return parseHistory(text);
}

/** Makes the slot where it is not there, or has lost what it kept. @returns from where on the server has WAL for it */
async function ensureSlot(session: ReplicationSession): Promise<ArchivePosition> {
  const [found] = await session.rows(
    `select restart_lsn, coalesce(wal_status, 'lost') from pg_replication_slots where slot_name = '${ARCHIVE_SLOT}'`,
  );
  const isLost = found !== undefined && (found[0] === null || found[1] === "lost");
  if (isLost) await session.rows(`DROP_REPLICATION_SLOT "${ARCHIVE_SLOT}" WAIT`);
  if (found === undefined || isLost)
    await session.rows(`CREATE_REPLICATION_SLOT "${ARCHIVE_SLOT}" PHYSICAL RESERVE_WAL`);
  const [slot] = await session.rows(`READ_REPLICATION_SLOT "${ARCHIVE_SLOT}"`);
  const [, restartLsn, timeline] = slot ?? [];
  if (typeof restartLsn !== "string" || typeof timeline !== "string") {
    throw new Error(`the slot ${ARCHIVE_SLOT} does not say what it keeps`);
  }
  return { timeline: Number(timeline), lsn: parseLsn(restartLsn) };
}
