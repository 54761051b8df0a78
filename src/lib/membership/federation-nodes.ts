import { FulaError } from "../kernel/errors.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import type { FederationPeer, NodeRole } from "./federation.ts";

/** A box as it writes itself down in the ledger. */
export interface NodeRegistration {
  readonly name: string;
  readonly role: NodeRole;
  readonly clusterId: string;
  /** Null where the box has no IPFS Cluster peer: an embedded master. */
  readonly clusterPeerId: string | null;
  readonly clusterAddresses: readonly string[];
  readonly kuboPeerId: string | null;
  readonly kuboAddresses: readonly string[];
  /** `ed25519:…`; tells two boxes of one name apart. */
  readonly signingKey: string | null;
  /** What `secretsDigest` gave; null on a storage node. */
  readonly secretsDigest: string | null;
  /** The fula-master that it runs. */
  readonly version: string;
}

/** A box of the federation. Times are RFC 3339, UTC, by the ledger's clock. */
export interface FederationNode extends NodeRegistration {
  readonly joinedAt: string;
  readonly seenAt: string;
}

interface NodeRow {
  readonly name: string;
  readonly role: NodeRole;
  readonly cluster_id: string;
  readonly cluster_peer_id: string | null;
  readonly cluster_addresses: readonly string[];
  readonly kubo_peer_id: string | null;
  readonly kubo_addresses: readonly string[];
  readonly signing_key: string | null;
  readonly secrets_digest: string | null;
  readonly version: string;
  readonly joined_at: Date;
  readonly seen_at: Date;
}

const COLUMNS = `name, role, cluster_id, cluster_peer_id, cluster_addresses, kubo_peer_id, kubo_addresses, signing_key,
  secrets_digest, version, joined_at, seen_at`;

function nodeOf(row: NodeRow): FederationNode {
  return {
    name: row.name,
    role: row.role,
    clusterId: row.cluster_id,
    clusterPeerId: row.cluster_peer_id,
    clusterAddresses: row.cluster_addresses,
    kuboPeerId: row.kubo_peer_id,
    kuboAddresses: row.kubo_addresses,
    signingKey: row.signing_key,
    secretsDigest: row.secrets_digest,
    version: row.version,
    joinedAt: row.joined_at.toISOString(),
    seenAt: row.seen_at.toISOString(),
  };
}

/** Every box that has written itself down, masters first, then by name. */
export async function listFederationNodes(pool: Pool): Promise<readonly FederationNode[]> {
  const { rows } = await runQuery<NodeRow>(pool, {
    name: "federation_node_list",
    text: `select ${COLUMNS} from federation_nodes order by role, name`,
    values: [],
  });
  return rows.map(nodeOf);
}

function foreignLedger(node: NodeRegistration, other: NodeRow): FulaError {
  return new FulaError(
    "FULA_FEDERATION_FOREIGN",
    `This ledger belongs to cluster ${other.cluster_id} (${other.name}), and ${node.name} is of cluster ${node.clusterId}.`,
    {
      hint: `to join that federation, make a token on ${other.name} (fula-master token create) and join with it in a new base directory.`,
      details: { ledger: other.cluster_id, node: node.clusterId },
    },
  );
}

function nameTaken(node: NodeRegistration, other: NodeRow): FulaError {
  return new FulaError(
    "FULA_NODE_NAME_TAKEN",
    `The federation has another ${other.role} called ${node.name}, seen last at ${other.seen_at.toISOString()}.`,
    {
      hint: `choose another name with --node-name; or, if this box replaces that one: fula-master peers forget ${node.name}`,
      details: { name: node.name, signingKey: other.signing_key },
    },
  );
}

/** True where the row was written by the same box: its key is made once and never again. */
function isSameBox(node: NodeRegistration, row: NodeRow): boolean {
  return row.role === node.role && (row.signing_key === null || row.signing_key === node.signingKey);
}

async function upsert(client: TransactionClient, node: NodeRegistration): Promise<void> {
  await client.query(
    `insert into federation_nodes (name, role, cluster_id, cluster_peer_id, cluster_addresses, kubo_peer_id,
       kubo_addresses, signing_key, secrets_digest, version)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     on conflict (name) do update
       set cluster_peer_id = excluded.cluster_peer_id, cluster_addresses = excluded.cluster_addresses,
           kubo_peer_id = excluded.kubo_peer_id, kubo_addresses = excluded.kubo_addresses,
           signing_key = excluded.signing_key, secrets_digest = excluded.secrets_digest,
           version = excluded.version, seen_at = now()`,
    [
      node.name,
      node.role,
      node.clusterId,
      node.clusterPeerId,
      node.clusterAddresses,
      node.kuboPeerId,
      node.kuboAddresses,
      node.signingKey,
      node.secretsDigest,
      node.version,
    ],
  );
}

/**
 * Writes a box's own row, new or changed. A box that got a new name leaves its old row behind; that goes here too.
 * @throws FulaError FULA_FEDERATION_FOREIGN where the ledger belongs to another pinset, FULA_NODE_NAME_TAKEN where
 *   another box has the name
 */
export async function registerNode(pool: Pool, node: NodeRegistration, deps: { readonly clock: Clock }): Promise<void> {
  await withTransaction(
    pool,
    async (client) => {
      // Two boxes that join at once must see one another: the table is small and rarely written.
      await client.query("lock table federation_nodes in share row exclusive mode");
      const { rows } = await client.query<NodeRow>(`select ${COLUMNS} from federation_nodes`);
      const stranger = rows.find((row) => row.cluster_id !== node.clusterId);
      if (stranger !== undefined) throw foreignLedger(node, stranger);
      const namesake = rows.find((row) => row.name === node.name);
      if (namesake !== undefined && !isSameBox(node, namesake)) throw nameTaken(node, namesake);
      await client.query(
        `delete from federation_nodes
          where name <> $1 and (cluster_peer_id = $2 or (signing_key = $3 and role = 'master'))`,
        [node.name, node.clusterPeerId, node.signingKey],
      );
      await upsert(client, node);
    },
    deps,
  );
}

/** Notes that this box is alive, and never another one that has its name. @returns false where it has no row */
export async function noteNodeSeen(
  pool: Pool,
  { name, signingKey }: Pick<NodeRegistration, "name" | "signingKey">,
): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "federation_node_seen",
    text: "update federation_nodes set seen_at = now() where name = $1 and (signing_key is null or signing_key = $2)",
    values: [name, signingKey],
  });
  return rowCount > 0;
}

/** Notes which secrets this box works with, and never of another one that has its name. */
export async function noteSecretsDigest(
  pool: Pool,
  { name, signingKey }: Pick<NodeRegistration, "name" | "signingKey">,
  secretsDigest: string,
): Promise<void> {
  await runQuery(pool, {
    name: "federation_node_digest",
    text: "update federation_nodes set secrets_digest = $3 where name = $1 and (signing_key is null or signing_key = $2)",
    values: [name, signingKey, secretsDigest],
  });
}

/** Takes a box out: it leaves, or will never come back. @returns its last row, or null where there was none */
export async function removeNode(pool: Pool, name: string): Promise<FederationNode | null> {
  const { rows } = await runQuery<NodeRow>(pool, {
    name: "federation_node_remove",
    text: `delete from federation_nodes where name = $1 returning ${COLUMNS}`,
    values: [name],
  });
  const row = rows[0];
  return row === undefined ? null : nodeOf(row);
}

/** True for a row that this box may have written; another box may have the same name. */
export function isOwnRow(own: Pick<NodeRegistration, "name" | "signingKey">, row: FederationNode): boolean {
  return row.name === own.name && (row.signingKey === null || row.signingKey === own.signingKey);
}

/** Takes this box itself out, and never another one that has its name. @returns false where it had no row */
export async function removeOwnNode(
  pool: Pool,
  { name, signingKey }: Pick<NodeRegistration, "name" | "signingKey">,
): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "federation_node_remove_own",
    text: "delete from federation_nodes where name = $1 and (signing_key is null or signing_key = $2)",
    values: [name, signingKey],
  });
  return rowCount > 0;
}

/** The masters among the boxes that others can reach, as peers. */
export function mastersOf(nodes: readonly FederationNode[]): readonly FederationPeer[] {
  return nodes.flatMap((node): readonly FederationPeer[] => {
    const { role, name, clusterPeerId, clusterAddresses, kuboPeerId, kuboAddresses, signingKey } = node;
    if (role !== "master" || clusterPeerId === null || kuboPeerId === null || clusterAddresses.length === 0) return [];
    return [{ name, clusterPeerId, clusterAddresses, kuboPeerId, kuboAddresses, signingKey }];
  });
}

/**
 * Where the masters' servers of the control plane are: `host:port`, by name of the master. Those that have none, or one that
 * nobody else reaches, are not among them.
 */
export async function listControlPlaneRoutes(
  pool: Pool,
): Promise<readonly { readonly name: string; readonly route: string }[]> {
  const { rows } = await runQuery<{ readonly name: string; readonly route: string }>(pool, {
    name: "federation_node_routes",
    // As JSON, because `join` looks at ledgers that have yet to get the column.
    text: `
      select name, to_jsonb(federation_nodes) ->> 'control_plane_route' as route
        from federation_nodes
       where role = 'master' and to_jsonb(federation_nodes) ->> 'control_plane_route' is not null
       order by name`,
    values: [],
  });
  return rows;
}

/**
 * Writes down where this master's own server of the control plane is; null = it has none any more.
 * @returns false where it stood there already, and where this box has no row
 */
export async function noteControlPlaneRoute(
  pool: Pool,
  { name, signingKey }: Pick<NodeRegistration, "name" | "signingKey">,
  route: string | null,
): Promise<boolean> {
  const { rowCount } = await runQuery(pool, {
    name: "federation_node_note_route",
    text: `
      update federation_nodes set control_plane_route = $3
       where name = $1 and (signing_key is null or signing_key = $2) and control_plane_route is distinct from $3`,
    values: [name, signingKey, route],
  });
  return rowCount > 0;
}
