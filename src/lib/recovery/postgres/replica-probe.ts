import type { Session } from "../../postgres/session.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import type { ReplicaProbe } from "../adapters.ts";
import type { Epoch } from "../epoch.ts";
import type { Handshake, RewindReadiness } from "../types.ts";
import { proveArchive, type WalArchive } from "./archived-wal.ts";
import { classify, handshakeOf, type ReplicaFacts, type Verdict } from "./classify.ts";
import type { LedgerServer } from "./ledger-server.ts";
import { relateData, stretchesOf } from "./lineage-facts.ts";
import { lookAtNodeBy, type NodeLook } from "./node-look.ts";
import type { PrimaryLink } from "./primary-link.ts";
import { lookAtPrimary, type PrimaryLook } from "./primary-look.ts";
import { type KnownBackup, retainedHistory } from "./retained.ts";
import { forkOf, proveRewind } from "./rewind-readiness.ts";
import { matchStretches, type StretchMatch } from "./wal-match.ts";

/** Who is looked at, and by whom it is measured. */
export interface ProbeSides {
  /** The replica: this box's server. */
  readonly server: LedgerServer;
  readonly primary: Pick<PrimaryLink, "connect">;
  /** The replica's slot at the primary. */
  readonly slot: string;
  /** The epoch that the control plane has given out last, and how many standbys a commit waits for in it. */
  readonly arbiter: Epoch;
  readonly syncNeeded: number;
  /** What this box can read of archived WAL; null where there is none. */
  readonly archive: WalArchive | null;
  /** The newest base backup that this box can restore. */
  readonly newestBackup: () => Promise<KnownBackup | null>;
}

/** Looks at a replica and its primary for the engine; changes nothing on either. */
export class PostgresProbe implements ReplicaProbe {
  readonly #sides: ProbeSides;

  constructor(sides: ProbeSides) {
    this.#sides = sides;
  }

  async handshake(signal: AbortSignal): Promise<Handshake> {
    return handshakeOf(await gatherFacts(this.#sides, signal));
  }

  /** How the replica would come back now, for whoever only wants to know. */
  async classify(signal: AbortSignal): Promise<Verdict> {
    return classify(await gatherFacts(this.#sides, signal));
  }
}

async function gatherFacts(sides: ProbeSides, signal: AbortSignal): Promise<ReplicaFacts> {
  const { server, arbiter, archive } = sides;
  await using files = await server.site.open(signal);
  const look = await lookAtNodeBy(files, server, signal);
  await using session = await sides.primary.connect();
  const primary = await lookAtPrimary(session, sides.slot, sides.syncNeeded);
  const archived = await proveArchive(session, primary, archive);
  const history = retainedHistory(primary, archived, await sides.newestBackup());
  if (look.data.kind !== "readable" || look.data.control.systemId !== primary.systemId) {
    const rewind: RewindReadiness = { possible: false, because: "there is nothing that could be rewound" };
    return { look, primary, arbiter, archived, matches: [], rewind, history };
  }
  // What is not proven to be the primary's proves nothing of the replica either.
  const trusted = archived === null ? null : archive;
  const matches = await compare({ look, primary, files, session, archive: trusted }, signal);
  const lineage = relateData(look, look.data, primary, { arbiter, matches, tailLsn: history.tailLsn });
  const forkLsn = forkOf(lineage);
  const rewind: RewindReadiness =
    forkLsn === null
      ? { possible: false, because: "it has nothing of its own" }
      : await proveRewind(files, look.data, primary, { forkLsn, matches }, signal);
  return { look, primary, arbiter, archived, matches, rewind, history };
}

async function compare(
  both: {
    readonly look: NodeLook;
    readonly primary: PrimaryLook;
    readonly files: SiteSession;
    readonly session: Session;
    readonly archive: WalArchive | null;
  },
  signal: AbortSignal,
): Promise<readonly StretchMatch[]> {
  const { look, primary, files, session, archive } = both;
  if (look.data.kind !== "readable") return [];
  const { wal, end } = look.data;
  const stretches = stretchesOf(look.data, primary);
  return await matchStretches(
    {
      node: { files, wal, stretches, endLsn: end.lsn },
      primary: { session, stretches: primary.stretches, headLsn: primary.headLsn },
      archive,
    },
    signal,
  );
}
