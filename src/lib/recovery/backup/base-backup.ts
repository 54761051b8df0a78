import { FulaError } from "../../kernel/errors.ts";
import type { Epoch } from "../epoch.ts";
import { type Lsn, parseLsn } from "../lsn.ts";
import type { CopyStream, ReplicationRow, ReplicationSession } from "./replication.ts";

/** What a server says of itself before it is copied. */
export interface BackupSource {
  readonly systemId: string;
  readonly serverVersion: number;
  readonly segmentBytes: number;
  readonly isStandby: boolean;
  readonly epoch: Epoch | null;
}

/** A base backup that is being sent. */
export interface BaseBackupStream {
  readonly timeline: number;
  readonly startLsn: Lsn;
  /** As the server estimates it. */
  readonly totalBytes: number;
  /** The archive, in pieces; to be read to its end, before the rest is asked for. */
  readonly archive: AsyncGenerator<Buffer>;
  /** The backup_manifest, and where it ends. */
  finish(): { readonly manifest: Buffer; readonly endLsn: Lsn };
}

/** BASE_BACKUP took its options in another form before, and its stream had other messages. */
const SERVER_VERSION_MIN = 150_000;
const KIBIBYTE = 1024;

/** Kinds of messages in the stream: https://www.postgresql.org/docs/current/protocol-replication.html */
const NEW_ARCHIVE = 0x6e;
const MANIFEST = 0x6d;
const DATA = 0x64;
const PROGRESS = 0x70;

function only(rows: readonly ReplicationRow[]): readonly string[] {
  return (rows[0] ?? []).map((field) => field ?? "");
}

/**
 * Looks at the server that is to be copied.
 * @throws FulaError FULA_BASE_BACKUP_SOURCE where it is too old or has tablespaces of its own
 */
export async function readBackupSource(session: ReplicationSession): Promise<BackupSource> {
  const [version, segment, recovery, tablespaces, hasEpochs] = only(
    await session.rows(
      `select current_setting('server_version_num'),
              (select setting from pg_settings where name = 'wal_segment_size'),
              pg_is_in_recovery(),
              (select count(*) from pg_tablespace where spcname not in ('pg_default', 'pg_global')),
              to_regclass('ledger_epochs') is not null`,
    ),
  );
  const serverVersion = Number(version);
  if (serverVersion < SERVER_VERSION_MIN) {
    throw new FulaError(
      "FULA_BASE_BACKUP_SOURCE",
      `The server is PostgreSQL ${version}; base backups need 15 or newer.`,
      {
        hint: "upgrade it (pg_upgrade), or take dumps with pg_dump.",
      },
    );
  }
  if (tablespaces !== "0") {
    throw new FulaError(
      "FULA_BASE_BACKUP_SOURCE",
      `The server has ${tablespaces} tablespaces outside of its data directory, which a backup of ours does not hold.`,
      {
        hint: "move them back (alter database … set tablespace pg_default), or back the server up with pg_basebackup.",
      },
    );
  }
  const { systemId } = await session.identify();
  const [number, uuid] =
    hasEpochs === "t"
      ? only(await session.rows("select number, uuid from ledger_epochs order by number desc limit 1"))
      : [];
  return {
    systemId,
    serverVersion,
    segmentBytes: Number(segment),
    isStandby: recovery === "t",
    epoch: number === undefined || uuid === undefined ? null : { number: BigInt(number), uuid },
  };
}

/**
 * Has the server send a base backup with the WAL that makes it consistent. That WAL is kept for it by a temporary slot, which
 * is gone with the session. @param label 63 letters at most
 * @throws FulaError FULA_BASE_BACKUP_SOURCE where the slot cannot be made
 */
export async function startBaseBackup(session: ReplicationSession, label: string): Promise<BaseBackupStream> {
  const slot = label.replaceAll(/[^a-z0-9]/g, "_");
  try {
    await session.rows(`CREATE_REPLICATION_SLOT "${slot}" TEMPORARY PHYSICAL RESERVE_WAL`);
  } catch (cause) {
    throw new FulaError("FULA_BASE_BACKUP_SOURCE", "The server gives no replication slot to the backup.", {
      cause,
      hint: "select * from pg_replication_slots shows who has them; max_replication_slots bounds their number.",
    });
  }
  const copy = session.copy(
    `BASE_BACKUP (LABEL '${label}', CHECKPOINT 'fast', WAL, PROGRESS, MANIFEST 'yes', MANIFEST_CHECKSUMS 'SHA256')`,
  );
  // The first message comes behind the first two results: where it begins, and what will be sent.
  const first = await copy.next();
  const [start, timeline] = only(copy.results[0] ?? []);
  const sizeKib = copy.results[1]?.[0]?.[2];
  if (first === null || start === undefined || timeline === undefined) throw unexpected("no start");
  const manifest: Buffer[] = [];
  return {
    timeline: Number(timeline),
    startLsn: parseLsn(start),
    totalBytes: Number(sizeKib ?? 0) * KIBIBYTE,
    archive: archiveOf(copy, first, manifest),
    finish: () => {
      const [end] = only(copy.results.at(-1) ?? []);
      if (copy.results.length < 3 || end === undefined || manifest.length === 0) throw unexpected("no end");
      return { manifest: Buffer.concat(manifest), endLsn: parseLsn(end) };
    },
  };
}

async function* archiveOf(copy: CopyStream, first: Buffer, manifest: Buffer[]): AsyncGenerator<Buffer> {
  let isManifest = false;
  let archives = 0;
  for (let message: Buffer | null = first; message !== null; message = await copy.next()) {
    const body = message.subarray(1);
    switch (message[0]) {
      case NEW_ARCHIVE:
        archives += 1;
        if (archives > 1) throw unexpected("a second archive");
        break;
      case MANIFEST:
        isManifest = true;
        break;
      case DATA:
        if (isManifest) manifest.push(body);
        else yield body;
        break;
      case PROGRESS:
        break;
      default:
        throw unexpected(`a message of kind ${message[0]}`);
    }
  }
}

function unexpected(what: string): FulaError {
  return new FulaError(
    "FULA_BASE_BACKUP_SOURCE",
    `The server sent a base backup that this version cannot read: ${what}.`,
    {
      hint: "take it with pg_basebackup, and report which PostgreSQL this is.",
    },
  );
}
