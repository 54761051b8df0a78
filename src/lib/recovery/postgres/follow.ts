import { FulaError } from "../../kernel/errors.ts";
import type { Session } from "../../postgres/session.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { type Epoch, formatEpoch, relateEpoch } from "../epoch.ts";
import { type Lsn, parseLsn } from "../lsn.ts";
import { notStandby } from "./detach.ts";
import { raiseEpochFloor } from "./epoch-floor.ts";
import { readEpochRows } from "./epoch-row.ts";
import { assertRunning, askOne, connectWhenUp, type LedgerServer, type Patience, waitUntil } from "./ledger-server.ts";
import { assertNoMarker } from "./marker.ts";
import { writeNodeConf } from "./node-conf.ts";
import { type PrimaryLink, renderConninfo } from "./primary-link.ts";
import { runScript } from "./site-files.ts";

/** Whom to follow, and as what. */
export interface Following {
  readonly primary: PrimaryLink;
  /** The one that the primary must be of. */
  readonly epoch: Epoch;
  /** The physical slot of this box there; it exists. */
  readonly slot: string;
  /** Further settings of the role, such as `restore_command`; null takes one out. */
  readonly settings: Readonly<Record<string, string | null>>;
}

/** How the primary sees this box's server. */
export interface PrimaryView {
  /** False while it only catches up. */
  readonly streaming: boolean;
  /** What it has said that it has durably; null before it has said so. */
  readonly flushedLsn: Lsn | null;
}

// postgresql.auto.conf is whoever's the data was copied from: its port, its slot, its primary.
const BECOME_STANDBY = `
umask 077
cd "$1" && rm -f recovery.signal && : >postgresql.auto.conf && : >standby.signal &&
  sync postgresql.auto.conf standby.signal . `;

/** Makes the stopped server's data directory a standby's. @throws FulaError FULA_RECOVERY_STEP */
async function markAsStandby(files: SiteSession, { site }: LedgerServer): Promise<void> {
  await runScript(files, `make ${site.where} a standby`, BECOME_STANDBY, [site.dataDir]);
}

/** Writes down whom this box's server follows; it learns of it by its next start or a reload. */
async function writeFollowing(
  files: SiteSession,
  server: LedgerServer,
  { primary, slot, settings }: Following,
): Promise<void> {
  await writeNodeConf(files, server.site, {
    primary_conninfo: renderConninfo({ ...primary.conninfo, application_name: server.node }),
    primary_slot_name: slot,
    recovery_target_timeline: "latest",
    default_transaction_read_only: null,
    // The primary's alone. Promoted with it, this server would wait for standbys that it does not have.
    synchronous_standby_names: null,
    ...settings,
  });
}

/** What the primary says of this box's server; null where nothing of it is connected. @throws FulaError FULA_LEDGER_ROLE */
export async function viewOfPrimary(
  session: Session,
  node: string,
  { primary, epoch }: Pick<Following, "primary" | "epoch">,
): Promise<PrimaryView | null> {
  const [newest] = await readEpochRows(session);
  if (newest === undefined || relateEpoch(newest, epoch) !== "same") {
    throw new FulaError(
      "FULA_LEDGER_ROLE",
      `${primary.node} is not the primary of epoch ${formatEpoch(epoch)}: its data is of ${newest === undefined ? "none" : formatEpoch(newest)}.`,
      { hint: "fula-master standby status says who is; run the command again then." },
    );
  }
  const { rows } = await session.query<{ streaming: boolean; flushed: string | null }>({
    name: "recovery_seen_standby",
    text: `
      select state = 'streaming' as streaming, flush_lsn::text as flushed from pg_stat_replication
       where application_name = $1 and state in ('catchup', 'streaming') and not pg_is_in_recovery()`,
    values: [node],
  });
  const [row] = rows;
  if (row === undefined) return null;
  return { streaming: row.streaming, flushedLsn: row.flushed === null ? null : parseLsn(row.flushed) };
}

/**
 * Has this box's server follow the primary: started as a standby, or told so where it runs as one. Whether it streams is
 * for the caller to wait for.
 * @throws FulaError FULA_RECOVERY_MARKER, FULA_RECOVERY_EPOCH_FLOOR; FULA_LEDGER_ROLE where this server takes writes
 */
export async function beginFollowing(
  files: SiteSession,
  server: LedgerServer,
  following: Following,
  patience: Patience,
): Promise<void> {
  const { site } = server;
  await assertNoMarker(files, site);
  await raiseEpochFloor(files, site, following.epoch);
  if ((await site.state()) !== "running") {
    await markAsStandby(files, server);
    await writeFollowing(files, server, following);
    await site.start();
    return;
  }
  await using session = await connectWhenUp(server, patience);
  const { standby } = await askOne<{ standby: boolean }>(session, {
    name: "recovery_is_standby",
    text: "select pg_is_in_recovery() as standby",
    values: [],
  });
  if (!standby) throw notStandby(server);
  await writeFollowing(files, server, following);
  await site.reload();
}

/**
 * Makes this box's server follow the primary, and waits until the primary says that it streams: a server that is up and in
 * recovery may be stuck where its own history left the primary's.
 * @returns what the primary knows it to have durably
 * @throws FulaError FULA_RECOVERY_MARKER, FULA_RECOVERY_EPOCH_FLOOR; FULA_LEDGER_ROLE where this server takes writes, or the
 * primary is of another epoch; FULA_RECOVERY_TIMEOUT where it does not stream in time
 */
export async function followPrimary(server: LedgerServer, following: Following, patience: Patience): Promise<Lsn> {
  const { primary } = following;
  {
    await using files = await server.site.open(patience.signal);
    await beginFollowing(files, server, following, patience);
  }
  return await waitUntil(`${server.node} streams from ${primary.node}`, server.clock, patience, async () => {
    await assertRunning(server);
    await using session = await primary.connect();
    const view = await viewOfPrimary(session, server.node, following);
    return view?.streaming === true ? view.flushedLsn : null;
  });
}
