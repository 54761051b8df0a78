import { FulaError } from "../../kernel/errors.ts";
import type { Session } from "../../postgres/session.ts";
import { formatEpoch, relateEpoch } from "../epoch.ts";
import type { Epoch } from "../epoch.ts";
import { notStandby } from "./detach.ts";
import { readEpochFloor } from "./epoch-floor.ts";
import { readEpochRows, writeEpochRow } from "./epoch-row.ts";
import { askOne, connectWhenUp, type LedgerServer, type Patience, waitUntil } from "./ledger-server.ts";
import { assertNoMarker } from "./marker.ts";
import { prepareNodeConf } from "./node-conf.ts";
import { ensureSlot } from "./slots.ts";

/** What a standby becomes the primary of. */
export interface Promotion {
  readonly epoch: Epoch;
  /** Why, a sentence for the epoch's row. */
  readonly reason: string;
  /** Settings of the new primary's role, such as `synchronous_standby_names`; null takes one out. */
  readonly settings: Readonly<Record<string, string | null>>;
  /** Physical slots of those that follow it at once: a promotion brings none along. Default none. */
  readonly slots?: readonly string[];
}

/** What a promotion made. */
export interface PromotedPrimary {
  readonly timeline: number;
  /** Where it left the timeline before, as PostgreSQL writes positions. */
  readonly switchLsn: string;
}

const STANDBY_CONF = { primary_conninfo: null, primary_slot_name: null, restore_command: null } as const;

/**
 * Makes this box's detached standby the primary of an epoch. Its first row is the epoch's; nobody else can write before,
 * because `detachStandby` left it read-only. Run again, it goes on where it was cut off.
 * The caller has won the epoch's compare-and-swap and has counted the attestations: nothing of that is looked at here.
 * @throws FulaError FULA_RECOVERY_MARKER; FULA_RECOVERY_EPOCH_FLOOR where this box was not detached under this epoch;
 * FULA_LEDGER_ROLE where it is the primary of another epoch; FULA_RECOVERY_TIMEOUT
 */
export async function promoteStandby(
  server: LedgerServer,
  promotion: Promotion,
  patience: Patience,
): Promise<PromotedPrimary> {
  const { site } = server;
  await using files = await site.open(patience.signal);
  const settings = { ...STANDBY_CONF, ...promotion.settings, default_transaction_read_only: null };
  const [floor, writeSettings] = await Promise.all([
    readEpochFloor(files, site),
    prepareNodeConf(files, site, settings),
    assertNoMarker(files, site),
  ]);
  if (floor === null || relateEpoch(floor, promotion.epoch) !== "same") {
    throw new FulaError(
      "FULA_RECOVERY_EPOCH_FLOOR",
      `${site.where} was not detached for epoch ${formatEpoch(promotion.epoch)}: the last that it has seen is ${floor === null ? "none" : formatEpoch(floor)}.`,
      { hint: "fula-master failover status shows which step comes next." },
    );
  }
  if ((await site.state()) !== "running") await site.start();
  await using session = await connectWhenUp(server, patience);
  await assertMayBecome(server, session, promotion.epoch);
  await leaveRecovery(server, session, promotion.slots ?? [], patience);
  const promoted = await describe(session);
  await writeEpochRow(session, {
    ...promotion.epoch,
    timeline: promoted.timeline,
    switchLsn: promoted.switchLsn,
    primary: server.node,
    reason: promotion.reason,
  });
  await writeSettings();
  await site.reload();
  return promoted;
}

/** A primary may go on with its own promotion; one of another epoch, or without any, was made so by somebody else. */
async function assertMayBecome(server: LedgerServer, session: Session, epoch: Epoch): Promise<void> {
  const [newest] = await readEpochRows(session);
  if (newest !== undefined && relateEpoch(newest, epoch) === "same") return;
  if (newest !== undefined && relateEpoch(newest, epoch) !== "older") throw notStandby(server);
}

async function isInRecovery(session: Session): Promise<boolean> {
  const row = await askOne<{ in_recovery: boolean }>(session, {
    name: "recovery_in_recovery",
    text: "select pg_is_in_recovery() as in_recovery",
    values: [],
  });
  return row.in_recovery;
}

/** `pg_promote` would look ten times a second whether it is done; we look more often. */
async function leaveRecovery(
  server: LedgerServer,
  session: Session,
  slots: readonly string[],
  patience: Patience,
): Promise<void> {
  const isStandby = await isInRecovery(session);
  if (isStandby) await session.query({ name: "recovery_promote", text: "select pg_promote(false)", values: [] });
  // Meanwhile: what they hold, the floor's slot has held since this was detached.
  for (const slot of slots) await ensureSlot(session, slot);
  if (!isStandby) return;
  await waitUntil(`${server.site.where} has become a primary`, server.clock, patience, async () =>
    (await isInRecovery(session)) ? null : true,
  );
}

/** The timeline by the segment that is written: the control file's lags until the first checkpoint. */
async function describe(session: Session): Promise<PromotedPrimary> {
  const { timeline } = await askOne<{ timeline: number }>(session, {
    name: "recovery_timeline",
    text: "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int as timeline",
    values: [],
  });
  const { switch_lsn: switchLsn } = await askOne<{ switch_lsn: string }>(session, {
    name: "recovery_switch_lsn",
    // The history file's last line: parent timeline, switchpoint, reason.
    text: `
      select (regexp_match(pg_read_file('pg_wal/' || lpad(upper(to_hex($1::int)), 8, '0') || '.history'),
                           '(?:^|\\n)\\d+\\t([0-9A-F]+/[0-9A-F]+)\\t[^\\n]*\\n?$'))[1] as switch_lsn`,
    values: [timeline],
  });
  return { timeline, switchLsn };
}

/**
 * What a new primary is given once it takes writes: the checkpoint without which `pg_rewind` takes its control file, which
 * still names the timeline before, for proof that nothing has to be rewound.
 */
export async function settlePromotion(server: LedgerServer): Promise<void> {
  await using session = await server.connect();
  await session.query({ name: "recovery_checkpoint", text: "checkpoint", values: [] });
}
