import { isFulaError } from "../kernel/errors.ts";
import type { LedgerBox, LedgerEpochRecord } from "../membership/ledger-records.ts";
import { parseLsn } from "../recovery/lsn.ts";
import { attestationsNeeded } from "./choose-primary.ts";
import type { FailoverCheck, FailoverPorts, ServerLook } from "./failover-ports.ts";
import type { KnownRun } from "./failover-run.ts";
import { NOT_DETACHED } from "./fence-evidence.ts";
import { endedEpoch } from "./failover-states.ts";
import { readBoxes, unfitBySession } from "./failover-scene.ts";

/** What is to be done, as far as it matters before anything is. */
export type PreflightWish = Pick<KnownRun, "kind" | "from" | "to" | "replaces" | "forced" | "allowedLoss">;

/** What preflight saw of one server. */
export interface SeenServer {
  readonly box: LedgerBox;
  readonly look: ServerLook;
}

interface Seen {
  readonly wish: PreflightWish;
  readonly epoch: LedgerEpochRecord;
  readonly old: SeenServer | null;
  readonly standbys: readonly SeenServer[];
  readonly unfit: ReadonlyMap<string, string>;
  readonly hasFenceCommand: boolean;
}

type Judged = Omit<FailoverCheck, "durationMs">;

function ok(id: string, seen: string): Judged {
  return { id, state: "ok", seen };
}

function bad(id: string, seen: string): Judged {
  return { id, state: "bad", seen };
}

function attention(id: string, seen: string): Judged {
  return { id, state: "attention", seen };
}

function isOf(look: ServerLook, { replaces }: PreflightWish): boolean {
  return look.kind === "answers" && look.epoch?.number === replaces.number && look.epoch.uuid === replaces.uuid;
}

/** Why a standby cannot be promoted now; null where nothing speaks against it. */
function obstacleOf({ wish, unfit }: Seen, { box, look }: SeenServer): string | null {
  if (look.kind === "silent") return look.why;
  if (!look.inRecovery) return "it takes writes itself, so somebody promoted it by hand";
  if (!isOf(look, wish)) return `its data is of epoch ${look.epoch?.number ?? "none"}, not of ${wish.replaces.number}`;
  return unfit.get(box.node) ?? null;
}

function judgeEpoch({ epoch, wish }: Seen): Judged {
  const text = `epoch ${epoch.number} is ${epoch.phase}, with ${epoch.primary} as the primary`;
  if (endedEpoch(epoch)?.uuid !== wish.replaces.uuid) return bad("epoch", text);
  return epoch.phase === "open" ? ok("epoch", text) : attention("epoch", `${text}, which it never took up`);
}

function judgeCandidate(seen: Seen): Judged {
  const { wish, standbys } = seen;
  const wanted = standbys.filter(({ box }) => wish.to === null || box.node === wish.to);
  if (wanted.length === 0) {
    const who = wish.to === null ? "no other box carries a" : `${wish.to} carries no`;
    return bad("candidate", `${who} standby that could be promoted`);
  }
  const judged = wanted.map((server) => ({ server, obstacle: obstacleOf(seen, server) }));
  const fit = judged.filter(({ obstacle }) => obstacle === null);
  const words = judged.map(
    ({ server: { box }, obstacle }) => `${box.node} ${obstacle === null ? "can be promoted" : `cannot: ${obstacle}`}`,
  );
  return fit.length > 0 ? ok("candidate", words.join("; ")) : bad("candidate", words.join("; "));
}

function countSyncSet({ epoch, wish, standbys }: Seen) {
  const { syncSet, syncNeeded } = endedEpoch(epoch) ?? epoch;
  const there = standbys.filter(({ box, look }) => syncSet.includes(box.node) && isOf(look, wish)).length;
  return { syncSet, syncNeeded, there, needed: syncNeeded === 0 ? 0 : attestationsNeeded({ syncSet, syncNeeded }) };
}

/** Whether enough of the synchronous set are there to prove that nothing acknowledged is lost. */
function judgeSyncSet(seen: Seen): Judged {
  const { wish } = seen;
  const { syncSet, syncNeeded, there, needed } = countSyncSet(seen);
  if (syncNeeded === 0) {
    const words = "the primary waits for no standby, so that its last commits may be lost";
    if (wish.allowedLoss !== null) return attention("sync-set", `${words}, and that is allowed: ${wish.allowedLoss}`);
    return wish.kind === "switchover"
      ? attention(
          "sync-set",
          "the primary waits for no standby; it is stopped only after the candidate has its whole log",
        )
      : bad("sync-set", `${words}; --allow-data-loss <position> allows it`);
  }
  const words = `${there} of the ${syncSet.length} synchronous standbys answer, ${needed} have to detach`;
  if (there >= needed) return ok("sync-set", words);
  if (wish.allowedLoss !== null)
    return attention("sync-set", `${words}; what only the others have may be lost: ${wish.allowedLoss}`);
  return bad(
    "sync-set",
    `${words}: the others may have commits that nobody else has. Bring them back, or allow the loss by --allow-data-loss <position>`,
  );
}

function judgeLag({ wish, old, standbys }: Seen): Judged {
  const positions = standbys.flatMap(({ box, look }) =>
    look.kind === "answers" ? [{ node: box.node, lsn: look.lsn }] : [],
  );
  const words = positions.map(({ node, lsn }) => `${node} has the log up to ${lsn}`).join(", ");
  if (old?.look.kind !== "answers") {
    const text = `${wish.from} does not answer, so how far the standbys are behind is not known; ${words === "" ? "none of them answers" : words}`;
    return wish.kind === "switchover" ? bad("lag", text) : attention("lag", text);
  }
  const head = parseLsn(old.look.lsn);
  const behind = positions.map(
    ({ node, lsn }) => `${node} is ${head > parseLsn(lsn) ? head - parseLsn(lsn) : 0n} bytes behind`,
  );
  return behind.length === 0 ? bad("lag", "no standby answers") : ok("lag", behind.join(", "));
}

function judgeOldMaster(seen: Seen): Judged {
  const { wish, old, hasFenceCommand } = seen;
  const { from, kind, forced } = wish;
  const look: ServerLook = old?.look ?? {
    kind: "silent",
    why: "the control plane does not know its address",
    refused: false,
  };
  if (kind === "switchover") {
    if (look.kind === "silent")
      return bad("old-master", `${from} has to stop in order, and does not answer: ${look.why}`);
    return look.inRecovery
      ? bad("old-master", `${from} is no primary`)
      : ok("old-master", `${from} is the primary and answers`);
  }
  if (look.kind === "answers") {
    return forced
      ? bad("old-master", `${from} answers, so it is not off; leave --force-fence away, and it is fenced in order`)
      : attention(
          "old-master",
          `${from} answers: it is told to stop; where it is well, fula-master switchover is shorter`,
        );
  }
  if (forced) return attention("old-master", `${from}: ${look.why}; the operator attests that it is off`);
  if (hasFenceCommand)
    return ok("old-master", `${from}: ${look.why}; failover.fenceCommand is to prove that it is stopped`);
  // A closed port is an answer of the box, or of a firewall: whether its services refuse, too, is seen when it is fenced.
  const { syncNeeded, there, needed } = countSyncSet(seen);
  if (look.refused && syncNeeded > 0 && there >= needed) return attention("old-master", `${from}: ${look.why}`);
  const why = look.refused ? `${look.why}, as a firewall does, too, and ${NOT_DETACHED}` : look.why;
  return bad(
    "old-master",
    `${from} does not answer (${why}), so that it cannot be proven that it takes no writes: set failover.fenceCommand, run this where ${from} can be reached, or cut its power and add --force-fence`,
  );
}

async function timed(
  { clock }: Pick<FailoverPorts, "clock">,
  id: string,
  look: () => Promise<readonly FailoverCheck[]>,
): Promise<readonly FailoverCheck[]> {
  const startMs = clock.monotonicMs();
  try {
    return await look();
  } catch (error) {
    if (!isFulaError(error)) throw error;
    return [{ id, state: "bad", seen: error.message, durationMs: clock.monotonicMs() - startMs }];
  }
}

async function lookAtServers(
  ports: FailoverPorts,
  wish: PreflightWish,
  epoch: LedgerEpochRecord,
  signal: AbortSignal,
): Promise<Seen> {
  const boxes = [...(await readBoxes(ports)).values()];
  const standbys = boxes.filter(({ node, state }) => node !== wish.from && state === "standby");
  const old = boxes.find(({ node }) => node === wish.from) ?? null;
  const lookAt = async (box: LedgerBox): Promise<SeenServer> => ({ box, look: await ports.lookAtServer(box, signal) });
  const [seenOld, seenStandbys, inSession, unfit] = await Promise.all([
    old === null ? null : lookAt(old),
    Promise.all(standbys.map(lookAt)),
    unfitBySession(ports),
    ports.findUnfit(standbys, signal),
  ]);
  return {
    wish,
    epoch,
    old: seenOld,
    standbys: seenStandbys,
    unfit: new Map([...inSession, ...unfit]),
    hasFenceCommand: ports.hasFenceCommand,
  };
}

/**
 * Looks whether a run can succeed, and changes nothing. The longest of the looks decides how long it takes: they are done
 * at the same time.
 */
export async function preflight(
  ports: FailoverPorts,
  wish: PreflightWish,
  epoch: LedgerEpochRecord,
  signal: AbortSignal,
): Promise<readonly FailoverCheck[]> {
  const { clock } = ports;
  const startMs = clock.monotonicMs();
  const [servers, box] = await Promise.all([
    timed(ports, "servers", async () => {
      const seen = await lookAtServers(ports, wish, epoch, signal);
      const durationMs = clock.monotonicMs() - startMs;
      const judges = [judgeEpoch, judgeCandidate, judgeSyncSet, judgeLag, judgeOldMaster];
      return judges.map((judge) => ({ ...judge(seen), durationMs }));
    }),
    timed(ports, "box", async () => await ports.checkBox(signal)),
  ]);
  return [...servers, ...box];
}
