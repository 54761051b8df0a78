import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import type { Attestation, LedgerBox, LedgerEpochRecord, Versioned } from "../membership/ledger-records.ts";
import { swapRecord } from "../membership/ledger-swap.ts";
import { parseLsn } from "../recovery/lsn.ts";
import type { AllowedLoss, ChoiceFacts, PrimaryChoice } from "./choose-primary.ts";
import type { AccessLook, FailoverCheck, FailoverPorts, HookOutcome, SealLook } from "./failover-ports.ts";
import type { FailoverRunKeeper } from "./failover-run.ts";

/** What stands under the epoch's key, which a run never does without. */
export type StandingEpoch = Versioned<LedgerEpochRecord> & { readonly value: LedgerEpochRecord };

/** That somebody wrote a record of the control plane: whoever waits for one looks at once. */
export class Hints {
  #next = Promise.withResolvers<void>();

  give(): void {
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  async next(): Promise<void> {
    await this.#next.promise;
  }
}

/** Lines of the journal, which is for people: nothing waits for one to be on disk but the end of the run. */
export class Notes {
  readonly #journal: FailoverPorts["journal"];
  readonly #open: Promise<void>[] = [];
  #failure: Error | null = null;

  constructor(journal: FailoverPorts["journal"]) {
    this.#journal = journal;
  }

  append(event: string, fields: Readonly<Record<string, unknown>>): void {
    const written = this.#journal.append(event, fields).catch((error: unknown) => {
      this.#failure ??= error instanceof Error ? error : new Error(messageOf(error));
    });
    this.#open.push(written);
  }

  /** @throws why a line could not be written: a run whose steps nobody can read afterwards goes no further */
  assertWritten(): void {
    if (this.#failure !== null) throw this.#failure;
  }

  /** Waits until all lines are on disk. @throws likewise */
  async written(): Promise<void> {
    await Promise.all(this.#open);
    this.assertWritten();
  }
}

/** What the steps of one run share. Only what a step found out itself is kept here: all else is asked again. */
export interface FailoverScene {
  readonly ports: FailoverPorts;
  readonly keeper: FailoverRunKeeper;
  /** Ends with the command, or with the run's being somebody else's. */
  readonly signal: AbortSignal;
  readonly report: (text: string) => void;
  readonly hints: Hints;
  readonly notes: Notes;
  epoch: StandingEpoch;
  fenceHook: HookOutcome | null;
  flipHook: HookOutcome | null;
  /** What was tried on the new master. */
  checks: readonly FailoverCheck[];
  revoked: AccessLook | null;
  sealed: SealLook | null;
  choice: Extract<PrimaryChoice, { kind: "chosen" }> | null;
  /** What speaks against these servers, as it was looked at when the last of them had detached. */
  unfit: { readonly key: string; readonly nodes: ReadonlyMap<string, string> } | null;
  /** When the epoch was raised, by the monotonic clock; null where another process did. */
  raisedMs: number | null;
  /** When a write of the new epoch was seen to be done. */
  writtenMs: number | null;
}

const SWAP_PATIENCE_MS = 10_000;

/** The epoch as it stands, confirmed by the quorum. @throws FulaError FULA_FAILOVER_NO_STANDBY, FULA_CONTROL_PLANE_UNREACHABLE */
export async function readEpoch(store: FailoverPorts["store"]): Promise<StandingEpoch> {
  const { revision, value } = await store.confirm("epoch");
  if (value !== null) return { revision, value };
  throw new FulaError(
    "FULA_FAILOVER_NO_STANDBY",
    "The ledger has one server only: no standby was ever added, so there is nothing to fail over to.",
    {
      hint: "fula-master standby add, on another master, adds one; where the only server is lost: fula-master backup restore.",
    },
  );
}

/**
 * Changes the epoch's record.
 * @param change of the run's record, which is written first
 * @throws FulaError FULA_FAILOVER_OVERTAKEN where somebody else did meanwhile, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function changeEpoch(
  scene: FailoverScene,
  value: LedgerEpochRecord,
  change: Parameters<FailoverRunKeeper["change"]>[0] = {},
): Promise<void> {
  const { ports, signal, epoch, keeper } = scene;
  // The record of the run may have been taken over while this process was paused.
  await keeper.change(change);
  const swapped = await swapRecord(
    ports.store,
    { kind: "epoch", value, expectedRevision: epoch.revision },
    { clock: ports.clock, signal, patienceMs: SWAP_PATIENCE_MS },
  );
  if (swapped.won) {
    scene.epoch = { revision: swapped.revision, value };
    return;
  }
  const { value: now } = swapped.now;
  throw new FulaError(
    "FULA_FAILOVER_OVERTAKEN",
    `The epoch was changed meanwhile: the ledger is at epoch ${now?.number ?? 0} (${now?.phase ?? "none"}) with ${now?.primary ?? "nobody"}.`,
    { hint: "fula-master failover status shows what is under way; run the command again if it is still wanted." },
  );
}

/** Boxes that carry a server of the ledger, by name. */
export async function readBoxes({ store }: Pick<FailoverPorts, "store">): Promise<ReadonlyMap<string, LedgerBox>> {
  const entries = await store.list("box");
  return new Map(entries.map(({ node, value }) => [node, value]));
}

/** @throws FulaError FULA_FAILOVER_REFUSED where the control plane does not know such a box */
export async function requireBox({ ports }: Pick<FailoverScene, "ports">, node: string): Promise<LedgerBox> {
  return requireKnown(await readBoxes(ports), node);
}

/** @throws FulaError FULA_FAILOVER_REFUSED likewise */
export function requireKnown(boxes: ReadonlyMap<string, LedgerBox>, node: string): LedgerBox {
  const box = boxes.get(node);
  if (box !== undefined) return box;
  throw new FulaError("FULA_FAILOVER_REFUSED", `${node} carries no server of the ledger.`, {
    hint: "fula-master standby status shows which masters do.",
  });
}

/** What the boxes said of the epoch that is being raised. */
export async function readAttestations({ store }: Pick<FailoverPorts, "store">): Promise<readonly Attestation[]> {
  return (await store.list("attest")).map(({ value }) => value);
}

/** Reads what the operator lets be lost, as the run's record keeps it. @throws FulaError FULA_USAGE */
export function parseAllowedLoss(text: string): AllowedLoss {
  if (/^\d{1,18}$/.test(text)) return { kind: "bytes", bytes: BigInt(text) };
  try {
    return { kind: "above", lsn: parseLsn(text) };
  } catch (error) {
    if (!isFulaError(error, "FULA_RECOVERY_WAL_POSITION")) throw error;
    throw new FulaError(
      "FULA_USAGE",
      `--allow-data-loss ${JSON.stringify(text)} is neither a number of bytes nor a position.`,
      { hint: "a position is what fula-master failover --plan shows, such as 16/B374D848." },
    );
  }
}

/** What the choice of the new primary rests on now, and where the boxes are. */
export async function choiceFacts(
  scene: FailoverScene,
): Promise<ChoiceFacts & { readonly boxes: ReadonlyMap<string, LedgerBox> }> {
  const { ports, epoch, keeper } = scene;
  const { previous } = epoch.value;
  if (previous === null) throw new Error("an epoch that a run has raised ends none");
  const [attestations, boxes, inSession] = await Promise.all([
    readAttestations(ports),
    readBoxes(ports),
    unfitBySession(ports),
  ]);
  const attested = attestations.flatMap(({ node }) => boxes.get(node) ?? []);
  const { to, allowedLoss } = keeper.run;
  return {
    epoch: epoch.value,
    replaces: previous,
    attestations,
    boxes,
    wanted: to,
    allowedLoss: allowedLoss === null ? null : parseAllowedLoss(allowedLoss),
    unfit: new Map([...inSession, ...(await unfitOf(scene, attested))]),
  };
}

/** Looked at once for the same servers of the same epoch: writes wait for the choice, and its facts are asked for often. */
async function unfitOf(scene: FailoverScene, boxes: readonly LedgerBox[]): Promise<ReadonlyMap<string, string>> {
  const { ports, signal, epoch } = scene;
  const key = [epoch.value.uuid, ...boxes.map(({ node }) => node)].join(" ");
  if (scene.unfit?.key !== key) scene.unfit = { key, nodes: await ports.findUnfit(boxes, signal) };
  return scene.unfit.nodes;
}

/** Boxes whose server is being brought back or rebuilt: what it has is in the middle of a change. */
export async function unfitBySession({ store }: Pick<FailoverPorts, "store">): Promise<ReadonlyMap<string, string>> {
  const sessions = await store.list("session");
  return new Map(
    sessions.map(({ node, value }) => [node, `it is being brought back into sync (${value.kind}, by ${value.owner})`]),
  );
}
