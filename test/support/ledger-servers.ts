import { randomUUID } from "node:crypto";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { openSession } from "../../src/lib/postgres/session.ts";
import type { Epoch } from "../../src/lib/recovery/epoch.ts";
import type { WalArchive } from "../../src/lib/recovery/postgres/archived-wal.ts";
import { detachStandby } from "../../src/lib/recovery/postgres/detach.ts";
import type { LedgerServer, Patience } from "../../src/lib/recovery/postgres/ledger-server.ts";
import type { PrimaryLink } from "../../src/lib/recovery/postgres/primary-link.ts";
import { promoteStandby } from "../../src/lib/recovery/postgres/promote.ts";
import type { DivergedTail, ReplicaWork } from "../../src/lib/recovery/postgres/replica-work.ts";
import { PG_HOST, type PostgresRig, type RigServer } from "./postgres-pair.ts";

/** Long enough for the slowest machine: nothing is proven by how long it takes. */
export function patiently(signal: AbortSignal = new AbortController().signal): Patience {
  return { withinMs: 60_000, signal };
}

/** An epoch that nobody else has. */
export function newEpoch(number: bigint): Epoch {
  return { number, uuid: randomUUID() };
}

function connector(server: RigServer): LedgerServer["connect"] {
  return async () =>
    await openSession({ ...server.connection("ledger"), part: "test", node: server.name, tls: "disable" }, systemClock);
}

/** A server of the rig, as recovery changes it. */
export function asLedgerServer(server: RigServer): LedgerServer {
  return { node: server.name, site: server.site, connect: connector(server), clock: systemClock, log: silentLog };
}

/** The way to a primary of the rig. */
export function linkTo(server: RigServer): PrimaryLink {
  return {
    node: server.name,
    conninfo: { host: PG_HOST, port: String(server.port), user: "postgres", dbname: "postgres", sslmode: "disable" },
    connect: connector(server),
  };
}

/** Writes an epoch's row at a primary, as whoever added the first standby did. */
export async function enterEpoch(primary: RigServer, epoch: Epoch): Promise<void> {
  await primary.sql(
    "insert into ledger_epochs (number, uuid, timeline, switch_lsn, primary_node, reason, at) values ($1, $2, 1, null, $3, 'a test', now())",
    [String(epoch.number), epoch.uuid, primary.name],
    "ledger",
  );
}

/** A primary of epoch 1 and a standby that streams from it. @param settings of the primary */
export async function ledgerPair(
  rig: PostgresRig,
  names: readonly [string, string] = ["one", "two"],
  settings: Readonly<Record<string, string>> = {},
): Promise<{ readonly primary: RigServer; readonly standby: RigServer; readonly epoch: Epoch }> {
  const primary = await rig.primary(names[0], { ledger: true, settings });
  const epoch = newEpoch(1n);
  await enterEpoch(primary, epoch);
  const standby = await rig.standby(primary, names[1]);
  return { primary, standby, epoch };
}

/** One session's work at a server of the rig. */
export function workAt(
  server: RigServer,
  primary: RigServer,
  epoch: Epoch,
  options: {
    readonly session?: bigint;
    readonly tail?: DivergedTail | null;
    readonly archive?: WalArchive;
    readonly said?: string[];
  } = {},
): ReplicaWork {
  return {
    server: asLedgerServer(server),
    database: "ledger",
    session: options.session ?? 42n,
    following: { primary: linkTo(primary), epoch, slot: `fula_${server.name}`, settings: {} },
    epoch,
    tail: options.tail ?? null,
    archive: options.archive ?? null,
    limits: { programMs: 120_000, silenceMs: 60_000 },
    onProgress: (line) => options.said?.push(line),
  };
}

/**
 * Makes the standby the primary of a new epoch, while the old primary, which the standby was cut off from before, may go on
 * writing.
 */
export async function failOver(
  standby: RigServer,
  beforePromotion: () => Promise<void> = async () => {},
): Promise<Epoch> {
  const next = newEpoch(2n);
  await detachStandby(asLedgerServer(standby), next, patiently());
  await beforePromotion();
  const promotion = { epoch: next, reason: "a test", settings: {} };
  await promoteStandby(asLedgerServer(standby), promotion, patiently());
  return next;
}

/** Runs one statement as a session that means an epoch. */
export async function writeUnder(server: RigServer, epoch: Epoch, text: string): Promise<void> {
  await server.sql(
    `select set_config('fula.ledger_epoch', '${epoch.number}:${epoch.uuid}', false); ${text}`,
    [],
    "ledger",
  );
}
