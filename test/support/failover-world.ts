import { systemRandom } from "../../src/lib/kernel/random.ts";
import type {
  FailoverCheck,
  MissingContent,
  FailoverPorts,
  HandOver,
  HookOutcome,
  ServerLook,
} from "../../src/lib/failover/failover-ports.ts";
import type {
  Attestation,
  LedgerEpoch,
  LedgerEpochRecord,
  LedgerStore,
} from "../../src/lib/membership/ledger-records.ts";
import { formatLsn } from "../../src/lib/recovery/lsn.ts";
import { EventClock } from "./event-clock.ts";
import { newEpoch, newLedgerBox } from "./ledger-records.ts";
import { MemoryLedger, type MemoryLedgerOptions } from "./memory-ledger-store.ts";

/** A box of the world: a server of the ledger, and an agent that does what the epoch asks of it. */
export interface WorldBox {
  readonly node: string;
  lsn: bigint;
  /** Whether anything of it answers or acts. */
  alive: boolean;
  /** Whether the command's box reaches it; its agent reaches the control plane all the same. */
  reachable: boolean;
  /** Whether its agent acts; a frozen one's server goes on. */
  acts: boolean;
  serving: boolean;
  inRecovery: boolean;
  /** Whether its server, when it ends as a primary, ends in order. */
  orderly: boolean;
  /** Newest epoch of its data. */
  epoch: LedgerEpoch;
}

/** Servers, agents and services in memory, for what a failover decides and in which order it does it. */
export class FailoverWorld {
  readonly ledger = new MemoryLedger();
  readonly clock = new EventClock();
  readonly boxes = new Map<string, WorldBox>();
  readonly events: string[] = [];
  readonly first = newEpoch({ primary: "alpha", syncSet: ["beta"], syncNeeded: 1, uuid: systemRandom.uuid() });
  hook: HookOutcome = { state: "none", seen: "no command is set" };
  flipHook: HookOutcome = { state: "ended", seen: "the flip command ended with 0" };
  service: FailoverCheck["state"] = "ok";
  /** What the service finds to be on no box. */
  missing: readonly MissingContent[] = [];
  unfit = new Map<string, string>();

  static async make(
    standbys: readonly string[] = ["beta"],
    record: Partial<LedgerEpochRecord> = {},
  ): Promise<FailoverWorld> {
    const world = new FailoverWorld();
    const store = world.ledger.open();
    const epoch = { ...world.first, ...record };
    await store.put("epoch", epoch, 0);
    for (const node of ["alpha", ...standbys]) {
      const isPrimary = node === "alpha";
      world.boxes.set(node, {
        node,
        lsn: 0x3000100n,
        alive: true,
        reachable: true,
        acts: true,
        serving: true,
        orderly: true,
        inRecovery: !isPrimary,
        epoch: { number: epoch.number, uuid: epoch.uuid },
      });
      await store.put("box", newLedgerBox(node, { state: isPrimary ? "primary" : "standby" }), 0, node);
    }
    return world;
  }

  box(node: string): WorldBox {
    const box = this.boxes.get(node);
    if (box === undefined) throw new Error(`no box ${node}`);
    return box;
  }

  async epoch(): Promise<LedgerEpochRecord> {
    const { value } = await this.ledger.open().get("epoch");
    if (value === null) throw new Error("no epoch");
    return value;
  }

  /** Nodes whose server takes writes. */
  writers(): readonly string[] {
    return [...this.boxes.values()]
      .filter(({ alive, serving, inRecovery }) => alive && serving && !inRecovery)
      .map(({ node }) => node);
  }

  /** Every agent acts once. */
  async act(): Promise<void> {
    const store = this.ledger.open();
    for (const box of this.boxes.values()) if (box.alive && box.acts) await this.#actAs(box, store);
  }

  ports(options: MemoryLedgerOptions & { readonly onJournal?: (event: string) => void } = {}): FailoverPorts {
    return {
      store: this.ledger.open(options),
      clock: this.clock,
      random: systemRandom,
      journal: {
        append: async (event, fields = {}) => {
          options.onJournal?.(event);
          const { action } = fields;
          this.events.push(typeof action === "string" ? `${event}:${action}` : event);
        },
      },
      hasFenceCommand: this.hook.state !== "none",
      lookAtServer: async ({ node }) => this.#lookAt(node),
      probeServices: async ({ node }) => {
        const { reachable, alive } = this.box(node);
        const state = reachable && alive ? "proven" : "unknown";
        return { what: "services-refuse", state, seen: `the services of ${node}: ${state}` };
      },
      actHere: async () => await this.act(),
      runHook: async (hook: "fence" | "flip", { to }: HandOver) => {
        this.events.push(`hook:${hook}:${to ?? ""}`);
        return hook === "fence" ? this.hook : this.flipHook;
      },
      checkBox: async () => [{ id: "backup", state: "ok", seen: "the newest backup is good", durationMs: 1 }],
      findUnfit: async () => this.unfit,
      followEpoch: async ({ primary }) => {
        this.events.push(`follow:${primary}`);
      },
      revokeAccess: async ({ primary }) => ({ oldSessions: 0, seen: `no old session is left at ${primary}` }),
      seal: async ({ primary }) => {
        const isWriter = this.writers().includes(primary);
        return {
          oldWrite: isWriter ? "rejected" : "unknown",
          newWrite: isWriter,
          seen: `tried at ${primary}`,
        };
      },
      verifyService: async () => {
        this.events.push("verify");
        const missing = this.missing.length === 0 ? {} : { missing: this.missing };
        return [{ id: "billing", state: this.service, seen: `billing is ${this.service}`, durationMs: 1, ...missing }];
      },
    };
  }

  #lookAt(node: string): ServerLook {
    const { alive, reachable, serving, inRecovery, lsn, epoch } = this.box(node);
    if (!alive || !reachable) return { kind: "silent", why: "no answer within 2 s", refused: false };
    if (!serving) return { kind: "silent", why: "the connection was refused", refused: true };
    return { kind: "answers", inRecovery, epoch, lsn: formatLsn(lsn), isReceiving: inRecovery };
  }

  async #actAs(box: WorldBox, store: LedgerStore): Promise<void> {
    const { revision, value } = await store.get("epoch");
    if (value === null) return;
    const { phase, previous } = value;
    const isOld = previous?.primary === box.node;
    if (phase === "draining" && isOld) {
      for (const other of this.boxes.values()) if (other.alive && other.inRecovery) other.lsn = box.lsn;
      await this.#stop(box, value, store);
    }
    if (phase === "fencing" && isOld) await this.#stop(box, value, store);
    if (phase === "fencing" && box.inRecovery) await this.#attest(box, value, "standby-detached", store);
    if (phase === "promoting" && value.primary === box.node) {
      box.serving = true;
      box.inRecovery = false;
      box.epoch = { number: value.number, uuid: value.uuid };
      this.events.push(`promoted:${box.node}`);
      await store.put(
        "epoch",
        { ...value, phase: "open", timeline: 2, switchLsn: formatLsn(box.lsn), token: systemRandom.uuid() },
        revision,
      );
    }
  }

  async #stop(box: WorldBox, epoch: LedgerEpochRecord, store: LedgerStore): Promise<void> {
    box.serving = false;
    await this.#attest(box, epoch, box.orderly ? "primary-stopped" : "primary-halted", store);
  }

  async #attest(
    { node, lsn, epoch: lineage }: WorldBox,
    { number, uuid }: LedgerEpochRecord,
    what: Attestation["what"],
    store: LedgerStore,
  ): Promise<void> {
    const { revision, value } = await store.get("attest", node);
    if (value?.uuid === uuid) return;
    const at = "2026-11-22T00:00:00Z";
    // A stopped primary names the beginning of its last record, a standby the end of what it has.
    const position = what === "standby-detached" ? lsn : lsn - 40n;
    await store.put(
      "attest",
      { number, uuid, node, what, lineage, timeline: 1, receivedLsn: formatLsn(position), at },
      revision,
      node,
    );
  }
}
