import { formatUtc } from "../kernel/clock.ts";
import type { Alert } from "./alert-log.ts";
import { PEER_REMEDIES, type PeerWatch } from "./peer-watch.ts";
import type { SweepDeps, SweepOptions } from "./sweep.ts";
import type { Finding } from "./sweep-findings.ts";
import { NO_PROBLEM } from "./sweep-ledger.ts";
import { isBelow } from "./sweep-repair.ts";
import type { SweepReport, SweepReportPeer, SweepReportPin } from "./sweep-report.ts";
import type { Trouble, TroubleKind } from "./sweep-troubles.ts";

const WORST_SHOWN_MAX = 20;

/** What is left at the end of a sweep. */
export interface Settled {
  readonly pinning: number;
  readonly under: number;
  readonly lost: number;
  readonly belowAfter: number;
  readonly worst: SweepReport["worst"];
  readonly peers: SweepReport["peers"];
  readonly alertsRaised: number;
  readonly alertsCleared: number;
}

/** Counts what is left, alerts what is new, and tells what is well again. */
export async function settle(deps: SweepDeps, options: SweepOptions, watch: PeerWatch): Promise<Settled> {
  const settlement = new Settlement(deps, options);
  const pins = await settlement.pins();
  const peers = await settlement.peers(watch);
  if (deps.ledger !== null) await settlement.ledger();
  await deps.alerts.flush();
  deps.memory.commit();
  return { ...pins, peers, alertsRaised: settlement.raised, alertsCleared: settlement.cleared };
}

class Settlement {
  raised = 0;
  cleared = 0;
  readonly #deps: SweepDeps;
  readonly #options: SweepOptions;
  readonly #nowMs: number;

  constructor(deps: SweepDeps, options: SweepOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#nowMs = deps.clock.nowMs();
  }

  async pins(): Promise<Pick<Settled, "pinning" | "under" | "lost" | "belowAfter" | "worst">> {
    const { findings } = this.#deps.memory;
    const left = { pinning: 0, under: 0, lost: 0 };
    const worst: SweepReportPin[] = [];
    let belowAfter = 0;
    for (const finding of findings.ofThisRun()) {
      const { verdict } = finding;
      if (verdict === "ok" || verdict === "expired") {
        await this.#tellWell(finding);
        continue;
      }
      left[verdict === "awaited" ? "pinning" : verdict] += 1;
      if (!isBelow(finding, this.#nowMs, this.#options.graceMs)) continue;
      belowAfter += 1;
      if (verdict === "lost") this.#deps.onGone?.(finding);
      if (worst.length < WORST_SHOWN_MAX) worst.push(reportPinOf(finding));
      await this.#alertPin(finding);
    }
    for (const finding of findings.cleared()) await this.#tellWell(finding);
    return { ...left, belowAfter, worst };
  }

  /** Remembers who belongs to the cluster, and names the peers that cannot be counted on. */
  async peers(watch: PeerWatch): Promise<readonly SweepReportPeer[]> {
    const { troubles, members } = this.#deps.memory;
    const found = watch.findings(members.all());
    for (const peer of watch.known()) members.remember(peer);
    for (const { peer: id, name, trouble: problem, reason } of found) {
      troubles.note("peer", { id, name, problem, reason }, this.#nowMs);
    }
    const sinceMs = new Map(Array.from(troubles.ofThisRun("peer"), (trouble) => [trouble.id, trouble.sinceMs]));
    await this.#troubles("peer");
    return found.map(({ peer, name, trouble, reason, allocatedPins }) => {
      const since = formatUtc(sinceMs.get(peer) ?? this.#nowMs);
      return { peer, name, trouble, reason, allocatedPins, since, remedy: PEER_REMEDIES[trouble] };
    });
  }

  async ledger(): Promise<void> {
    await this.#troubles("ledger");
  }

  async #troubles(kind: TroubleKind): Promise<void> {
    const { troubles } = this.#deps.memory;
    for (const trouble of troubles.ofThisRun(kind)) {
      if (trouble.problem === NO_PROBLEM) await this.#tellOver(kind, trouble);
      else await this.#alertTrouble(kind, trouble);
    }
    for (const trouble of troubles.cleared(kind)) await this.#tellOver(kind, trouble);
  }

  /** One alert a pin until it is well again, and another one when the last copy is gone. */
  async #alertPin(finding: Finding): Promise<void> {
    const verdict = finding.verdict === "lost" ? "lost" : "under";
    if (finding.alerted === verdict || finding.alerted === "lost") return;
    const { cid, name, pinned, required, reason } = finding;
    await this.#raise({
      ...this.#times(finding.sinceMs),
      event: "under-replicated",
      cid,
      name,
      verdict,
      pinned,
      required,
      reason,
    });
    this.#deps.memory.findings.markAlerted(cid, verdict);
  }

  async #tellWell(finding: Finding): Promise<void> {
    const { cid, name, sinceMs, alerted, verdict } = finding;
    this.#deps.memory.findings.forget(cid);
    if (alerted === null) return;
    const reason = verdict === "expired" ? "it has expired" : "it is well again or no longer pinned";
    const nothing = { verdict: null, pinned: null, required: null };
    await this.#clear({ ...this.#times(sinceMs), event: "cleared", cid, name, ...nothing, reason });
  }

  async #alertTrouble(kind: TroubleKind, { id, name, problem, reason, sinceMs, alerted }: Trouble): Promise<void> {
    if (alerted === problem) return;
    const times = this.#times(sinceMs);
    await this.#raise(
      kind === "peer"
        ? { ...times, event: "peer", peer: id, name, problem, reason }
        : { ...times, event: "ledger", cid: id, name, problem, reason },
    );
    this.#deps.memory.troubles.markAlerted(kind, id, problem);
  }

  async #tellOver(kind: TroubleKind, { id, name, sinceMs, alerted }: Trouble): Promise<void> {
    this.#deps.memory.troubles.forget(kind, id);
    if (alerted === null) return;
    const times = this.#times(sinceMs);
    await this.#clear(
      kind === "peer"
        ? {
            ...times,
            event: "peer-cleared",
            peer: id,
            name,
            problem: null,
            reason: "it is well again or was taken out",
          }
        : {
            ...times,
            event: "ledger-cleared",
            cid: id,
            name,
            problem: null,
            reason: "it is pinned again, or the ledger no longer wants it",
          },
    );
  }

  #times(sinceMs: number): { readonly at: string; readonly since: string } {
    return { at: formatUtc(this.#nowMs), since: formatUtc(sinceMs) };
  }

  async #raise(alert: Alert): Promise<void> {
    this.raised += 1;
    await this.#send(alert);
  }

  async #clear(alert: Alert): Promise<void> {
    this.cleared += 1;
    await this.#send(alert);
  }

  async #send(alert: Alert): Promise<void> {
    await this.#deps.alerts.append(alert);
    if (this.#options.forwardAlerts) this.#deps.memory.outbox.add(JSON.stringify(alert));
  }
}

function reportPinOf(finding: Finding): SweepReportPin {
  const { cid, name, pinned, required, reason, sinceMs } = finding;
  const verdict = finding.verdict === "lost" || finding.verdict === "under" ? finding.verdict : "pinning";
  return { cid, name, verdict, pinned, required, reason, since: formatUtc(sinceMs) };
}
