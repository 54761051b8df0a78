import type { LoadedConfig } from "../config/load.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { LedgerBox, LedgerEpochRecord, LedgerStore, Versioned } from "../membership/ledger-records.ts";
import { openSession, type Session } from "../postgres/session.ts";
import { type Epoch, formatEpoch, relateEpoch } from "../recovery/epoch.ts";
import { readEpochRows } from "../recovery/postgres/epoch-row.ts";
import { askOne, type LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { standbySlot } from "../recovery/postgres/standby-names.ts";
import { openFirstEpoch } from "./first-epoch.ts";
import { ensurePostgresCertificate } from "./postgres-tls.ts";
import { dropStandbyRole, ensureStandbyRoles, loginsOf, writeAccess } from "./standby-access.ts";
import { boxConnection } from "./standby-link.ts";
import { lookAtPrimary, lookAtStandby, type PrimarySeen, slotOf } from "./standby-look.ts";
import { careForSlots, dropIdleSlot, forgetDeadSession } from "./standby-slots.ts";
import { SyncCare } from "./sync-care.ts";

/** What caring for the servers of the ledger needs. */
export interface StandbyCareContext {
  readonly loaded: LoadedConfig;
  readonly store: LedgerStore;
  /** This box's own. */
  readonly server: LedgerServer;
  readonly random: Random;
  readonly signal: AbortSignal;
}

/** What one round came to. */
export interface StandbyCareReport {
  /** In a few words each, for a log. */
  readonly done: readonly string[];
  /** What is waited for, or stands in the way; null where nothing does. */
  readonly waits: string | null;
  /** What the primary saw; null on another box, or where nothing was to be seen. */
  readonly seen: PrimarySeen | null;
  /** Number of the epoch; null where there is none. */
  readonly epoch: number | null;
  /** Who may be promoted without loss. */
  readonly syncSet: readonly string[];
  /** Boxes that have a standby, or are getting one. */
  readonly standbys: readonly string[];
}

type CareRound = Pick<StandbyCareReport, "done" | "waits" | "seen">;

/** What a box is told by the control plane. */
interface Records {
  readonly epoch: Versioned<LedgerEpochRecord>;
  readonly boxes: readonly { readonly revision: number; readonly value: LedgerBox }[];
}

/** Certificates and who may log in are looked at this often, and at once when the boxes have changed. */
const ACCESS_INTERVAL_MS = 60_000;
/** Slots that nobody waits for, and what a recovery left that was killed, are looked at this often. */
const SLOTS_INTERVAL_MS = 10_000;
const LOOPBACK = "127.0.0.1";

function epochOf({ number, uuid }: Pick<LedgerEpochRecord, "number" | "uuid">): Epoch {
  return { number: BigInt(number), uuid };
}

/**
 * Looks after this box's server of the ledger and, where it is the primary, after those that copy it: roles, slots,
 * certificates, and whom commits wait for. Each round does what is due and tells it; between rounds it remembers who was
 * seen when.
 */
export class StandbyCare {
  readonly #context: StandbyCareContext;
  readonly #sync: SyncCare;
  #accessKey = "";
  #accessAtMs = 0;
  #slotsDueMs = 0;
  #sessionDueMs = 0;

  constructor(context: StandbyCareContext) {
    this.#context = context;
    this.#sync = new SyncCare(context);
  }

  /** @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_DATABASE_UNREACHABLE, FULA_RECOVERY_STEP and others of the steps */
  async round(): Promise<StandbyCareReport> {
    const { store, server } = this.#context;
    const [epoch, boxes] = await Promise.all([store.get("epoch"), store.list("box")]);
    const records: Records = { epoch, boxes };
    const { number = null, syncSet = [] } = epoch.value ?? {};
    const standbys = boxes.map(({ node }) => node).filter((node) => node !== epoch.value?.primary);
    const forgotten = epoch.value === null ? [] : await this.#forgetDeadSession();
    const round = await this.#careFor(records, server.node);
    return { ...round, done: [...forgotten, ...round.done], epoch: number, syncSet, standbys };
  }

  async #careFor(records: Records, own: string): Promise<CareRound> {
    const { value: epoch } = records.epoch;
    if (epoch === null) return await this.#prepare(records);
    if (epoch.phase !== "open") return { done: [], waits: null, seen: null };
    return epoch.primary === own ? await this.#carePrimary(records, epoch) : await this.#careStandby(records);
  }

  /** The first standby is being added: this box becomes the primary of epoch 1. */
  async #prepare({ boxes }: Records): Promise<CareRound> {
    const { server, loaded } = this.#context;
    if (!boxes.some(({ value }) => value.state === "joining" && value.node !== server.node)) {
      // Further masters reach the ledger where it is announced, long before one of them carries a standby.
      const isAnnounced = loaded.config.postgres.announce !== null;
      return { done: isAnnounced ? await this.#careAccess([]) : [], waits: null, seen: null };
    }
    const problem = await whyUnfit(this.#context);
    if (problem !== null) return { done: [], waits: problem, seen: null };
    const done = [...(await this.#careAccess(boxes.map(({ value }) => value)))];
    const plain = await whyWithoutTls(server);
    if (plain !== null) return { done, waits: plain, seen: null };
    done.push(await openFirstEpoch(this.#context));
    return { done, waits: null, seen: null };
  }

  async #carePrimary(records: Records, epoch: LedgerEpochRecord): Promise<CareRound> {
    const { server } = this.#context;
    const boxes = records.boxes.map(({ value }) => value);
    await using session = await server.connect();
    // Nothing of what is done here may wait for a standby that it is to find out to be gone.
    await session.query({
      name: "standby_local_commits",
      text: "select set_config('synchronous_commit', 'local', false)",
      values: [],
    });
    const [newest] = await readEpochRows(session);
    const seen = await lookAtPrimary(session);
    if (seen === null || newest === undefined || relateEpoch(newest, epochOf(epoch)) !== "same") {
      const has = newest === undefined ? "no epoch" : `epoch ${formatEpoch(newest)}`;
      const what = seen === null ? "is a standby" : `has data of ${has}`;
      return {
        done: [],
        waits: `the server of this box ${what}, and the control plane says that it is the primary`,
        seen,
      };
    }
    const done = [...(await this.#careAccess(boxes))];
    done.push(...(await this.#ownRecord(records, epoch, seen, "primary")));
    done.push(...(await careForCopies(session, seen, server.node, boxes)));
    done.push(...(await this.#careSlots(session, boxes, true)));
    const sync = await this.#sync.step(session, seen, records.epoch, boxes);
    done.push(...sync.done, ...(await this.#forgetLeavers(session, records, seen)));
    return { done, waits: sync.waits, seen };
  }

  async #careStandby(records: Records): Promise<CareRound> {
    const { server, loaded } = this.#context;
    const nothing = { done: [], waits: null, seen: null };
    if ((await server.site.state()) !== "running") return nothing;
    const boxes = records.boxes.map(({ value }) => value);
    const done = [...(await this.#careAccess(boxes)), ...(await this.#careStandbySlots(boxes))];
    const own = records.boxes.find(({ value }) => value.node === server.node);
    const epoch = records.epoch.value;
    if (own?.value.state !== "primary" || epoch === null || epoch.address === null) return { ...nothing, done };
    // It was the primary, and follows the one that came after it.
    await using session = await server.connect();
    const seen = await lookAtStandby(session);
    if (seen?.isReceiving !== true) return { ...nothing, done };
    await using primary = await openSession(boxConnection(loaded, { address: epoch.address }, "standby"), server.clock);
    const [newest] = await readEpochRows(primary);
    if (newest === undefined || relateEpoch(newest, epochOf(epoch)) !== "same") return { ...nothing, done };
    done.push(...(await this.#putBox(own.revision, { ...own.value, state: "standby" })));
    return { ...nothing, done };
  }

  async #forgetDeadSession(): Promise<readonly string[]> {
    const { server, loaded, store } = this.#context;
    const nowMs = server.clock.monotonicMs();
    if (nowMs < this.#sessionDueMs) return [];
    const { clock, node } = server;
    const done = await forgetDeadSession(store, node, { locksDir: loaded.paths.locksDir, clock });
    this.#sessionDueMs = nowMs + SLOTS_INTERVAL_MS;
    return done;
  }

  async #careSlots(session: Session, boxes: readonly LedgerBox[], isPrimary: boolean): Promise<readonly string[]> {
    const { server, loaded, store } = this.#context;
    const { clock, node: own } = server;
    const nowMs = clock.monotonicMs();
    if (nowMs < this.#slotsDueMs) return [];
    const liveSessions = async (): Promise<ReadonlySet<bigint>> =>
      new Set((await store.list("session")).map(({ revision }) => BigInt(revision)));
    const care = { own, isPrimary, boxes, liveSessions };
    const done = await careForSlots(session, care, loaded.config.standby.slotMax);
    this.#slotsDueMs = nowMs + SLOTS_INTERVAL_MS;
    return done;
  }

  async #careStandbySlots(boxes: readonly LedgerBox[]): Promise<readonly string[]> {
    const { server } = this.#context;
    if (server.clock.monotonicMs() < this.#slotsDueMs) return [];
    try {
      await using session = await server.connect();
      return (await lookAtStandby(session)) === null ? [] : await this.#careSlots(session, boxes, false);
    } catch (error) {
      // It may be starting, or be stopped by a command at this moment; there is time.
      if (isFulaError(error, "FULA_DATABASE_UNREACHABLE")) return [];
      throw error;
    }
  }

  /** Certificate, files and settings that let the other boxes in. */
  async #careAccess(boxes: readonly LedgerBox[]): Promise<readonly string[]> {
    const { server, loaded, signal } = this.#context;
    const key = JSON.stringify(loginsOf(server.node, boxes));
    const nowMs = server.clock.monotonicMs();
    if (key === this.#accessKey && nowMs < this.#accessAtMs + ACCESS_INTERVAL_MS) return [];
    const done: string[] = [];
    const why = await ensurePostgresCertificate(loaded, server.clock);
    if (why !== null) done.push(`made a certificate: ${why}`);
    await using files = await server.site.open(signal);
    if (await writeAccess(files, server, loaded, boxes)) {
      await server.site.reload();
      done.push("wrote down which boxes may log in");
    }
    [this.#accessKey, this.#accessAtMs] = [key, nowMs];
    return done;
  }

  async #ownRecord(
    { boxes }: Records,
    epoch: LedgerEpochRecord,
    { systemId }: PrimarySeen,
    state: LedgerBox["state"],
  ): Promise<readonly string[]> {
    const { loaded, server } = this.#context;
    const own = boxes.find(({ value }) => value.node === server.node);
    const address = loaded.config.postgres.announce ?? epoch.address;
    const { major } = server.site;
    if (address === null) return [];
    const { value } = own ?? {};
    const isSame = value?.state === state && value.address === address && value.systemId === systemId;
    if (isSame && value.major === major) return [];
    const at = new Date(server.clock.nowMs()).toISOString();
    return await this.#putBox(own?.revision ?? 0, { node: server.node, address, systemId, major, state, at });
  }

  async #putBox(revision: number, box: LedgerBox): Promise<readonly string[]> {
    const { store } = this.#context;
    const put = await store.put("box", box, revision, box.node);
    return put === null ? [] : [`noted ${box.node} as ${box.state}`];
  }

  /** Boxes that leave go for good once nothing waits for them any more. */
  async #forgetLeavers(session: Session, { epoch, boxes }: Records, seen: PrimarySeen): Promise<readonly string[]> {
    const { store } = this.#context;
    const done: string[] = [];
    for (const { value, revision } of boxes.filter((box) => box.value.state === "leaving")) {
      const { node } = value;
      const isCounted = epoch.value?.syncSet.includes(node) === true || seen.syncNames.includes(`"${node}"`);
      if (isCounted) continue;
      await endReplication(session, seen, node);
      if (slotOf(seen, node) !== null && !(await dropIdleSlot(session, standbySlot(node)))) continue;
      await dropStandbyRole(session, node);
      if (await store.remove("box", revision, node)) done.push(`forgot ${node}`);
    }
    return done;
  }
}

/** Why this box's server cannot be copied by others; null where it can. */
async function whyUnfit({ loaded, server }: StandbyCareContext): Promise<string | null> {
  const { announce } = loaded.config.postgres;
  const anew = loaded.config.runtime === "docker" ? "fula-master join" : "fula-master stop, and fula-master start";
  if (announce === null) {
    return `postgres.announce is not set on ${server.node}: fula-master config set postgres.announce <host:port> there, then ${anew}`;
  }
  await using session = await server.connect();
  const seen = await lookAtPrimary(session);
  if (seen === null) return "the server of this box is a standby, of which the control plane knows nothing";
  if (seen.listenAddresses === LOOPBACK)
    return `the server of ${server.node} listens on loopback alone as yet: ${anew}`;
  if (!seen.hasHints && !seen.hasChecksums) {
    return `the server of ${server.node} runs with settings of an older version: ${anew}`;
  }
  return null;
}

/** Why other boxes could not reach this server by TLS; null where they can. */
async function whyWithoutTls(server: LedgerServer): Promise<string | null> {
  await using session = await server.connect();
  const { ssl } = await askOne<{ ssl: string }>(session, {
    name: "standby_tls",
    text: "select current_setting('ssl') as ssl",
    values: [],
  });
  if (ssl === "on") return null;
  return `the server of ${server.node} speaks no TLS; its log says why. The programs of the npm package are built without it: set postgres.binDir to PostgreSQL's own`;
}

/** Roles and slots of the boxes that copy this one; those that a standby brought into a promotion are none. */
async function careForCopies(
  session: Session,
  seen: PrimarySeen,
  own: string,
  boxes: readonly LedgerBox[],
): Promise<readonly string[]> {
  const staying = boxes.filter(({ state }) => state !== "leaving").map(({ node }) => node);
  // Its own, too: with it this box looks at the others' servers, and follows the one that is the primary after it.
  const made = await ensureStandbyRoles(session, [...new Set([...staying, own])]);
  const done = made.map((node) => `made the role of ${node}`);
  for (const node of staying) {
    if (node === own || slotOf(seen, node) !== null) continue;
    await session.query({
      name: "standby_make_slot",
      text: "select pg_create_physical_replication_slot($1, true)",
      values: [standbySlot(node)],
    });
    done.push(`made the slot of ${node}`);
  }
  // Somebody who takes the name of another box could acknowledge commits in its place.
  for (const { node, isGenuine, pid } of seen.replications) {
    if (isGenuine || !boxes.some((box) => box.node === node)) continue;
    await session.query({ name: "standby_end", text: "select pg_terminate_backend($1)", values: [pid] });
    done.push(`ended a connection that called itself ${node} without its role`);
  }
  return done;
}

/** Ends the replication of a box's standby. */
async function endReplication(session: Session, { replications }: PrimarySeen, node: string): Promise<void> {
  for (const { pid } of replications.filter((one) => one.node === node)) {
    await session.query({ name: "standby_end", text: "select pg_terminate_backend($1)", values: [pid] });
  }
}
