import { FulaError } from "../../kernel/errors.ts";
import type { Session } from "../../postgres/session.ts";
import type { Epoch } from "../epoch.ts";
import { type Lsn, parseLsn } from "../lsn.ts";
import { raiseEpochFloor } from "./epoch-floor.ts";
import { readEpochRows } from "./epoch-row.ts";
import { askOne, connectWhenUp, type LedgerServer, type Patience, waitUntil } from "./ledger-server.ts";
import { assertNoMarker } from "./marker.ts";
import { writeNodeConf } from "./node-conf.ts";
import { ensureSlot, FLOOR_SLOT } from "./slots.ts";

/** What a detached standby has, and will go on having: nobody sends it anything any more. */
export interface DetachedStandby {
  /** The newest epoch that its data knows; null where it knows none. */
  readonly lineage: Epoch | null;
  /** The timeline up to whose end it has received. */
  readonly timeline: number;
  /** The end of what it has written down. */
  readonly receivedLsn: Lsn;
}

/**
 * What a server is given that nobody may write to, even if it were promoted at this moment: its first row has to be the
 * epoch's. `promoteStandby` takes it away.
 */
const FENCED_CONF = {
  primary_conninfo: "",
  // Else it would go on with what the old primary archives.
  restore_command: "",
  default_transaction_read_only: "on",
} as const;

/**
 * A receiver that the startup process had decided to start just before it read the new settings runs for this long at
 * most before it is ended again: looked at twice with so much between, none is left.
 */
const SETTLE_MS = 50;

interface Receiving {
  readonly receivers: number;
  readonly conninfo: string;
  readonly in_recovery: boolean;
  readonly received: string | null;
  readonly timeline: number;
}

async function look(session: Session): Promise<Receiving> {
  return await askOne<Receiving>(session, {
    name: "recovery_receiving",
    text: `
      select (select count(*)::int from pg_stat_activity where backend_type = 'walreceiver') as receivers,
             current_setting('primary_conninfo') as conninfo,
             pg_is_in_recovery() as in_recovery,
             greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::text as received,
             greatest((select min_recovery_end_timeline from pg_control_recovery()),
                      (select timeline_id from pg_control_checkpoint()),
                      (select max(('x' || left(name, 8))::bit(32)::int) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$')) as timeline`,
    values: [],
  });
}

/**
 * Cuts this box's standby off from the primary of the epoch before, for good: durable before it returns, so that a standby
 * that is started again is as cut off as before. A standby that is stopped is started for it, to see what it has.
 * @param epoch the one that is beginning: this box never again does anything under an older one
 * @throws FulaError FULA_RECOVERY_EPOCH_FLOOR where this box has seen a higher epoch; FULA_RECOVERY_MARKER where its data is
 * being rewritten; FULA_RECOVERY_TIMEOUT; FULA_LEDGER_ROLE where it is no standby
 */
export async function detachStandby(server: LedgerServer, epoch: Epoch, patience: Patience): Promise<DetachedStandby> {
  const { site, clock } = server;
  await using files = await site.open(patience.signal);
  await assertNoMarker(files, site);
  // Both before the server is told: a federation that cannot write waits for this, and to be cut off harms under no epoch.
  await Promise.all([raiseEpochFloor(files, site, epoch), writeNodeConf(files, site, FENCED_CONF)]);
  if ((await site.state()) === "running") await site.reload();
  else await site.start();
  // All looks are of one session: to connect takes longer than to look. It shows the new settings once it has been told of them.
  await using session = await connectWhenUp(server, patience);
  const quiet = async (): Promise<Receiving | null> => {
    const seen = await look(session);
    if (!seen.in_recovery) throw notStandby(server);
    return seen.receivers === 0 && seen.conninfo === "" ? seen : null;
  };
  const what = `${site.where} receives nothing any more`;
  await waitUntil(what, clock, patience, quiet);
  const settled = clock.sleep(SETTLE_MS, patience.signal);
  settled.catch(() => {});
  const [lineage = null] = await readEpochRows(session);
  // Slots do not come along with a promotion. Made here, it reaches back to before the fork, from where whoever has to be
  // rewound goes on; made on the new primary, it would reach back to the fork.
  await ensureSlot(session, FLOOR_SLOT);
  await settled;
  const { received, timeline } = await waitUntil(what, clock, patience, quiet);
  if (received === null) throw new Error("a standby that answers has replayed nothing");
  return { lineage, timeline, receivedLsn: parseLsn(received) };
}

/** For whoever needs a standby and met a primary. */
export function notStandby({ site }: LedgerServer): FulaError {
  return new FulaError("FULA_LEDGER_ROLE", `The server of ${site.where} is no standby: it takes writes.`, {
    hint: "it was promoted by hand, or never was a standby: fula-master standby status says what each box has.",
  });
}
