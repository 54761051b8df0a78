import type { LoadedConfig } from "../config/load.ts";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { Secret } from "../kernel/secret.ts";
import type { FederationPeer, NodeRole } from "../membership/federation.ts";
import { listControlPlaneRoutes } from "../membership/federation-nodes.ts";
import type { JoinBundle } from "../membership/join-bundle.ts";
import { signPeers } from "../membership/peers-document.ts";
import { makeStorageToken } from "../membership/storage-grant.ts";
import {
  createMasterToken,
  listTokens,
  type MadeToken,
  readToken,
  recordStorageToken,
  revokeToken,
  type TokenRecord,
} from "../membership/token-table.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import type { Pool } from "../postgres/pool.ts";
import { controlPlaneOf } from "./control-plane-bundle.ts";
import {
  describePeers,
  type FederationContext,
  loadFederatedMaster,
  parseValidity,
  requireClusterId,
  requireMasters,
  requireSigner,
} from "./federation-run.ts";
import { type GivenSecrets, givenSecrets } from "./given-secrets.ts";
import { withLedger } from "./ledger.ts";

/** What `token create` is given. */
export interface MakeTokenOptions {
  readonly role: NodeRole;
  /** A duration such as `24h`. */
  readonly expires: string;
  readonly dryRun: boolean;
}

/** What `token create` prints; `--json` keeps these fields. */
export interface TokenReport {
  readonly dryRun: boolean;
  /** In the clear, this once; null in a dry run. */
  readonly token: string | null;
  /** Null in a dry run. */
  readonly id: string | null;
  readonly role: NodeRole;
  readonly issuer: string;
  /** RFC 3339, UTC. */
  readonly expiresAt: string;
  /** `ed25519:…` of this master, by which a storage node can check the token. */
  readonly key: string;
  /** Names of the masters that it tells of. */
  readonly masters: readonly string[];
  /** What one should know beside it, a sentence each. */
  readonly remarks: readonly string[];
}

const VALID_MAX_MS = 30 * 86_400_000;

/** @throws FulaError FULA_FEDERATION_NEEDED */
function requireClusterSecret({ secrets }: GivenSecrets): Secret {
  if (secrets.clusterSecret !== null) return secrets.clusterSecret;
  throw new FulaError(
    "FULA_FEDERATION_NEEDED",
    "The control plane has no secret of the IPFS Cluster, which a storage node needs to find the others.",
    {
      hint: "the secret of an adopted IPFS Cluster stands in its service.json (cluster.secret): put it into .env as CLUSTER_SECRET, and run fula-master join.",
    },
  );
}

async function bundleOf(
  pool: Pool,
  loaded: LoadedConfig,
  masters: readonly FederationPeer[],
  given: GivenSecrets,
): Promise<JoinBundle> {
  const { node, cluster, snapshot } = loaded.config;
  const trusted = await loadTrustedKeys(loaded.paths.keysDir, snapshot.trustedKeys);
  const known = masters.flatMap(({ signingKey }) => signingKey ?? []);
  const routes = (await listControlPlaneRoutes(pool)).map(({ route }) => route);
  return {
    clusterId: requireClusterId(loaded),
    issuer: node.name,
    ...given,
    controlPlane: await controlPlaneOf(loaded, routes),
    masters,
    replication: { min: cluster.replicationMin, max: cluster.replicationMax },
    trustedKeys: [...new Set([...trusted.map(({ keyId }) => keyId), ...known])],
  };
}

interface TokenParts {
  readonly masters: readonly FederationPeer[];
  readonly given: GivenSecrets;
  readonly validMs: number;
}

async function makeStorageNodeToken(
  pool: Pool,
  loaded: LoadedConfig,
  { masters, given, validMs }: TokenParts,
  context: FederationContext,
): Promise<MadeToken> {
  const signer = await requireSigner(loaded);
  const document = await describePeers(loaded, masters, { validMs, pinProbe: true }, context);
  const head = { id: context.random.uuid(), expiresAtMs: Date.parse(document.expiresAt) };
  const grant = {
    clusterSecret: requireClusterSecret(given),
    swarmKey: loaded.config.kubo.private ? given.secrets.swarmKey : null,
    peers: signPeers(document, signer),
  };
  return await recordStorageToken(pool, makeStorageToken(head, grant, signer), loaded.config.node.name);
}

/** What whoever makes a token should know beside it. */
function remarksOf({ config }: LoadedConfig, role: NodeRole): readonly string[] {
  if (role !== "master" || config.controlPlane.mode !== "sqlite") return [];
  return [
    "The control plane of this master is a file, and the master that joins gets one of its own: what is changed in one is not in the other until both are moved to NATS (fula-master membership migrate-to-kv).",
  ];
}

/**
 * Makes a join token for a further master, or for a storage node, with the newest secrets of the control plane.
 * @throws FulaError FULA_USAGE, FULA_FEDERATION_NEEDED, FULA_NOT_JOINED, FULA_SECRETS_BEHIND, and what opening ledger,
 *   pinset and control plane throws
 */
export async function makeToken(context: FederationContext, options: MakeTokenOptions): Promise<TokenReport> {
  const validMs = parseValidity("--expires", options.expires, VALID_MAX_MS);
  const loaded = await loadFederatedMaster(context);
  const signer = await requireSigner(loaded);
  const { role, dryRun } = options;
  const given = await givenSecrets(loaded, context);
  if (role === "storage") requireClusterSecret(given);
  return await withLedger(loaded, { ...context, part: "token" }, async (pool) => {
    const masters = await requireMasters(pool, loaded);
    const bundle = role === "master" ? await bundleOf(pool, loaded, masters, given) : null;
    const shared = {
      role,
      issuer: loaded.config.node.name,
      key: signer.keyId,
      masters: masters.map(({ name }) => name),
      remarks: remarksOf(loaded, role),
    };
    if (dryRun) {
      const expiresAt = formatUtc(context.clock.nowMs() + validMs);
      return { dryRun, token: null, id: null, expiresAt, ...shared };
    }
    const { text, record } =
      bundle === null
        ? await makeStorageNodeToken(pool, loaded, { masters, given, validMs }, context)
        : await createMasterToken(pool, bundle, { validMs, random: context.random });
    return { dryRun, token: text.reveal(), id: record.id, expiresAt: record.expiresAt, ...shared };
  });
}

/** Every join token of the federation, newest first. */
export async function readTokens(context: FederationContext): Promise<readonly TokenRecord[]> {
  const loaded = await loadFederatedMaster(context);
  return await withLedger(loaded, { ...context, part: "token" }, listTokens);
}

/** What `token revoke` did. */
export interface RevokeReport {
  readonly dryRun: boolean;
  readonly token: TokenRecord;
  /** False where it was revoked already. */
  readonly changed: boolean;
}

/**
 * Revokes a join token. That of a storage node is only marked: nothing asks the ledger when it is used.
 * @throws FulaError FULA_TOKEN_UNKNOWN, FULA_TOKEN_USED, FULA_USAGE for what is no token id
 */
export async function withdrawToken(context: FederationContext, id: string, dryRun: boolean): Promise<RevokeReport> {
  if (!/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) {
    // A whole token may have been pasted here, so it is not repeated.
    throw new FulaError("FULA_USAGE", "token revoke takes the id of a token, not its text.", {
      hint: "fula-master token list shows the ids.",
    });
  }
  const loaded = await loadFederatedMaster(context);
  return await withLedger(loaded, { ...context, part: "token" }, async (pool) => {
    if (!dryRun) {
      const { record, changed } = await revokeToken(pool, id);
      return { dryRun, token: record, changed };
    }
    const token = await readToken(pool, id);
    return { dryRun, token, changed: token.state === "open" || token.state === "expired" };
  });
}
