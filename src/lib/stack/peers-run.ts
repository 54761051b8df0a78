import { resolve } from "node:path";
import { FulaError } from "../kernel/errors.ts";
import { writeFileAtomic } from "../kernel/files.ts";
import { type FederationNode, listFederationNodes, removeNode } from "../membership/federation-nodes.ts";
import { type SignedPeers, signPeers } from "../membership/peers-document.ts";
import {
  describePeers,
  type FederationContext,
  loadFederatedMaster,
  parseValidity,
  requireMasters,
  requireSigner,
} from "./federation-run.ts";
import { withLedger } from "./ledger.ts";

/** A box of the federation as `peers show` lists it; `--json` keeps these fields. */
export interface NodeListing extends FederationNode {
  /** True for the box that the command runs on. */
  readonly isSelf: boolean;
  /**
   * Whether it has the same shared secrets as this box: JWT, session and encryption keys and the system key. Null for
   * a storage node, which has none.
   */
  readonly sameSecrets: boolean | null;
}

/** Every box that has written itself down. */
export async function showPeers(context: FederationContext): Promise<readonly NodeListing[]> {
  const loaded = await loadFederatedMaster(context);
  const { name } = loaded.config.node;
  const nodes = await withLedger(loaded, { ...context, part: "peers" }, listFederationNodes);
  const own = nodes.find((node) => node.name === name)?.secretsDigest ?? null;
  return nodes.map((node) => ({
    ...node,
    isSelf: node.name === name,
    sameSecrets: node.role === "storage" || own === null ? null : node.secretsDigest === own,
  }));
}

/** What `peers export` is given. */
export interface ExportOptions {
  /** A duration such as `30d`. */
  readonly expires: string;
  /** Where the document goes; null = standard output. */
  readonly output: string | null;
  readonly dryRun: boolean;
}

/** What `peers export` did. */
export interface ExportReport {
  readonly dryRun: boolean;
  readonly file: string | null;
  readonly signed: SignedPeers;
}

const VALID_MAX_MS = 365 * 86_400_000;
/** There is no secret in it: it may lie on a web server. */
const PUBLIC_FILE_MODE = 0o644;

/** The document as it lies in a file. */
export function renderSignedPeers(signed: SignedPeers): string {
  return `${JSON.stringify(signed, null, 2)}\n`;
}

/**
 * Signs who the masters are. Pins the probe by which storage nodes see that they replicate, where it is not pinned.
 * @throws FulaError FULA_USAGE, FULA_FEDERATION_NEEDED, FULA_NOT_JOINED, and what opening ledger and pinset throws
 */
export async function exportPeers(context: FederationContext, options: ExportOptions): Promise<ExportReport> {
  const { dryRun, output } = options;
  const validMs = parseValidity("--expires", options.expires, VALID_MAX_MS);
  const loaded = await loadFederatedMaster(context);
  const signer = await requireSigner(loaded);
  const masters = await withLedger(loaded, { ...context, part: "peers" }, async (pool) => requireMasters(pool, loaded));
  const document = await describePeers(loaded, masters, { validMs, pinProbe: !dryRun }, context);
  const signed = signPeers(document, signer);
  const file = output === null ? null : resolve(context.cwd, output);
  if (file !== null && !dryRun) await writeFileAtomic(file, renderSignedPeers(signed), { mode: PUBLIC_FILE_MODE });
  return { dryRun, file, signed };
}

/** What `peers forget` did. */
export interface ForgetReport {
  readonly dryRun: boolean;
  readonly node: FederationNode;
}

/**
 * Takes a box out of the federation's list that will not come back. Its peer stays trusted until it is out of
 * `cluster.trustedPeers` on every box, and its secrets are still the federation's.
 * @throws FulaError FULA_NODE_UNKNOWN, FULA_USAGE for this box itself
 */
export async function forgetPeer(context: FederationContext, name: string, dryRun: boolean): Promise<ForgetReport> {
  const loaded = await loadFederatedMaster(context);
  if (name === loaded.config.node.name) {
    throw new FulaError("FULA_USAGE", `${name} is this box itself.`, { hint: "fula-master leave takes it out." });
  }
  return await withLedger(loaded, { ...context, part: "peers" }, async (pool) => {
    const there = (await listFederationNodes(pool)).find((node) => node.name === name);
    const node = dryRun ? there : ((await removeNode(pool, name)) ?? undefined);
    if (node !== undefined) return { dryRun, node };
    throw new FulaError("FULA_NODE_UNKNOWN", `The federation has no box called ${name}.`, {
      hint: "fula-master peers show lists them.",
    });
  });
}
