import type { ReplicaProbe, StorageAdapter } from "../recovery/adapters.ts";
import { collectDeadPins, type DeadPins } from "../recovery/dead-pins.ts";
import { LocalArchive } from "../recovery/backup/archive-reach.ts";
import type { Shelf } from "../recovery/backup/shelf.ts";
import { isOfPrimary } from "../recovery/postgres/backup-lineage.ts";
import type { Verdict } from "../recovery/postgres/classify.ts";
import type { Following } from "../recovery/postgres/follow.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { lookAtNode } from "../recovery/postgres/node-look.ts";
import { lookAtPrimary } from "../recovery/postgres/primary-look.ts";
import { PostgresProbe } from "../recovery/postgres/replica-probe.ts";
import type { DivergedTail } from "../recovery/postgres/replica-work.ts";
import type { KnownBackup } from "../recovery/postgres/retained.ts";
import { forkOf } from "../recovery/postgres/rewind-readiness.ts";
import { listSlotPins } from "../recovery/postgres/slots.ts";
import type { BackupShelf } from "../recovery/postgres/snapshot-tail.ts";
import { PostgresStorage } from "../recovery/postgres/storage-adapter.ts";
import { oldestKept } from "../recovery/postgres/wal-inventory.ts";
import { stretchAt } from "../recovery/timeline-history.ts";
import type { Handshake } from "../recovery/types.ts";
import { backupPlace, openOwnShelf } from "./backup-place.ts";
import type { ResyncScene } from "./resync-scene.ts";
import type { StandbyBox } from "./standby-box.ts";

/** What a resync sees of the two servers, and how it holds what it needs at the primary. */
export interface ResyncEyes {
  readonly probe: ReplicaProbe;
  readonly storage: StorageAdapter;
  readonly shelf: BackupShelf;
  /** This box's archive of log. */
  readonly archive: LocalArchive;
  /** Looks at both servers and decides; changes nothing. */
  classify(signal: AbortSignal): Promise<Verdict>;
  /** What this box's server has, by a handshake, that nobody else has; null where there is nothing. */
  tailOf(handshake: Handshake, signal: AbortSignal): Promise<DivergedTail | null>;
  /** Lets go of what sessions hold that are gone, and those of this box, none of which lives when it is called. */
  collect(): Promise<DeadPins>;
}

/** Whom a resync looks at. */
export interface ResyncSides {
  readonly scene: ResyncScene;
  readonly server: LedgerServer;
  readonly following: Following;
}

/** The newest backup of this box that is trusted to rebuild from, for the primary as it is now. */
async function newestTrusted(
  box: StandbyBox,
  shelf: Shelf,
  { scene, following }: ResyncSides,
): Promise<KnownBackup | null> {
  await using session = await following.primary.connect();
  const primary = await lookAtPrimary(session, following.slot, scene.syncNeeded);
  const entry = await shelf.newestTrusted({
    systemId: primary.systemId,
    isOnLineage: (record) => isOfPrimary(record, primary),
    maxAgeMs: box.loaded.config.backup.maxAge,
    nowMs: box.context.clock.nowMs(),
  });
  return entry?.record == null ? null : { endLsn: entry.record.endLsn, isTrusted: true };
}

async function tailOf(
  { server }: ResyncSides,
  { lineage }: Handshake,
  signal: AbortSignal,
): Promise<DivergedTail | null> {
  const isStrange = lineage.kind === "lost" && lineage.because === "no_common_epoch";
  const knownFork = forkOf(lineage);
  if (knownFork === null && !isStrange) return null;
  const { data } = await lookAtNode(server, signal);
  if (data.kind !== "readable") return null;
  const { end, wal } = data;
  const stretches = data.stretches ?? [{ timeline: end.timeline, beganAtLsn: 0n }];
  // Nobody knows where it left the common history: what its log still has is kept.
  const forkLsn = knownFork ?? oldestKept(wal.files, stretches, end.lsn, wal.segmentBytes);
  const { timeline } = stretchAt(stretches, forkLsn + 1n) ?? end;
  return { timeline, forkLsn, endLsn: end.lsn };
}

/** Pins of sessions that are gone: slots at the primary, and files beside this box's backups. */
async function collect({ store, name }: StandbyBox, shelf: Shelf, { following }: ResyncSides): Promise<DeadPins> {
  return await collectDeadPins(
    async () => {
      const files = (await shelf.listPins()).map(({ backup, pin }) => {
        const release = async (): Promise<void> => await shelf.removePin(backup, pin);
        return { name: pin, release, [Symbol.asyncDispose]: release };
      });
      return [...(await listSlotPins(async () => await following.primary.connect())), ...files];
    },
    async () => {
      const sessions = await store.list("session");
      return new Set(sessions.filter(({ node }) => node !== name).map(({ revision }) => BigInt(revision)));
    },
  );
}

/** Opens the eyes. @throws FulaError FULA_SIGNING_KEY_INVALID, FULA_KEY_UNUSABLE for the keys of backups */
export async function openEyes(box: StandbyBox, sides: ResyncSides): Promise<ResyncEyes> {
  const { scene, server, following } = sides;
  const { primary, slot } = following;
  const shelf = await openOwnShelf(box.loaded, box.context.clock);
  const archive = new LocalArchive(backupPlace(box.loaded).backupDir);
  const newestBackup = async (): Promise<KnownBackup | null> => await newestTrusted(box, shelf, sides);
  const common = { primary, slot, syncNeeded: scene.syncNeeded, archive, newestBackup };
  const probe = new PostgresProbe({ ...common, server, arbiter: scene.epoch });
  return {
    probe,
    storage: new PostgresStorage({ ...common, pinBackup: async (lsn, session) => await shelf.pin(lsn, session) }),
    shelf,
    archive,
    classify: async (signal) => await probe.classify(signal),
    tailOf: async (handshake, signal) => await tailOf(sides, handshake, signal),
    collect: async () => await collect(box, shelf, sides),
  };
}
