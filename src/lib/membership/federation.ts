import { z } from "zod";

/** What a box is in its federation. */
export type NodeRole = "master" | "storage";

/** A master as other boxes reach it. */
export interface FederationPeer {
  readonly name: string;
  /** Peer id of its IPFS Cluster peer. */
  readonly clusterPeerId: string;
  /** Multiaddresses of that peer, each ending in `/p2p/<clusterPeerId>`. */
  readonly clusterAddresses: readonly string[];
  /** Peer id of its Kubo node. */
  readonly kuboPeerId: string;
  /** Multiaddresses of that node, each ending in `/p2p/<kuboPeerId>`. */
  readonly kuboAddresses: readonly string[];
  /** `ed25519:…` of the key that signs its snapshots and peers documents; null where it is not known. */
  readonly signingKey: string | null;
}

/** How many peers hold a pin that asks for no number itself; −1 = every peer. */
export interface ReplicationFactors {
  readonly min: number;
  readonly max: number;
}

/** Signs what a master says about its federation; the box's snapshot key is one. */
export interface DocumentSigner {
  /** `ed25519:<hex>` */
  readonly keyId: string;
  /** Raw ed25519, 64 bytes. */
  sign(message: Uint8Array): Uint8Array;
}

/** True where the signature (raw ed25519, 64 bytes) over `message` was made with the key `ed25519:<hex>`. */
export type CheckSignature = (keyId: string, message: Uint8Array, signature: Uint8Array) => boolean;

/** The node name of the settings (`node.name`). */
const NODE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const PEER_ID = /^(?:12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|Qm[1-9A-HJ-NP-Za-km-z]{44})$/;
const KEY_ID = /^ed25519:[0-9a-f]{64}$/;
// What comes from another box ends up in the environment of containers and in YAML: no character that means anything there.
const MULTIADDRESS = /^(?:\/[A-Za-z0-9._:-]+)+$/;

const ADDRESSES_MAX = 32;
const MASTERS_MAX = 64;

/** A CIDv1 in base32, which is what we make ourselves. */
export const CID_TEXT = /^b[a-z2-7]{20,200}$/;

function endsIn(address: string, peerId: string): boolean {
  return address.endsWith(`/p2p/${peerId}`);
}

const addressesSchema = z.array(z.string().max(256).regex(MULTIADDRESS)).max(ADDRESSES_MAX);

const peerSchema = z
  .strictObject({
    name: z.string().regex(NODE_NAME),
    clusterPeerId: z.string().regex(PEER_ID),
    clusterAddresses: addressesSchema.min(1),
    kuboPeerId: z.string().regex(PEER_ID),
    kuboAddresses: addressesSchema,
    signingKey: z.string().regex(KEY_ID).nullable(),
  })
  .refine(
    (peer) =>
      peer.clusterAddresses.every((address) => endsIn(address, peer.clusterPeerId)) &&
      peer.kuboAddresses.every((address) => endsIn(address, peer.kuboPeerId)),
    "an address names another peer than the one it stands under",
  );

/** Masters as they stand in a document or a bundle from another box. */
export const peersSchema = z.array(peerSchema).min(1).max(MASTERS_MAX);

/** Replication factors as they stand there. */
export const replicationSchema = z.strictObject({
  min: z.int().min(-1).max(1_000),
  max: z.int().min(-1).max(1_000),
});
