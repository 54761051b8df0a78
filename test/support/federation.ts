import { generateKeyPairSync, sign } from "node:crypto";
import { Secret } from "../../src/lib/kernel/secret.ts";
import type { CheckSignature, DocumentSigner, FederationPeer } from "../../src/lib/membership/federation.ts";
import type { NodeRegistration } from "../../src/lib/membership/federation-nodes.ts";
import type { JoinBundle } from "../../src/lib/membership/join-bundle.ts";
import type { PeersDocument } from "../../src/lib/membership/peers-document.ts";
import { keyIdOf, rawKeyOf, verifyEd25519 } from "../../src/lib/pinset/keys.ts";

/** Peer ids of daemons that never ran; well formed, which is all that documents look at. */
export const PEER_IDS = {
  cluster: "12D3KooWA1b5dkQkaHgTTyEzUGzSnd2VKHx7WnBhyTzSvaJWxRdQ",
  kubo: "12D3KooWGRUavhVvKz2kjZ4ShMxkYZkDRxzqtDDzBCpPZvZVdJvE",
  other: "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X",
} as const;

export const CLUSTER_ID = "0b6ee9f4-9d54-4b52-8ff5-0a4f5c1d2e3f";

/** A key that signs, as a master has one. */
export function makeSigner(): DocumentSigner {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  return { keyId: keyIdOf(raw), sign: (message) => new Uint8Array(sign(null, message, privateKey)) };
}

export const checkSignature: CheckSignature = (keyId, message, signature) => {
  const raw = rawKeyOf(keyId);
  return raw !== null && verifyEd25519(raw, message, signature);
};

export function makePeer(changes: Partial<FederationPeer> = {}): FederationPeer {
  return {
    name: "master-1",
    clusterPeerId: PEER_IDS.cluster,
    clusterAddresses: [`/ip4/198.51.100.7/tcp/9096/p2p/${PEER_IDS.cluster}`],
    kuboPeerId: PEER_IDS.kubo,
    kuboAddresses: [`/dns/master-1.example.org/udp/4001/quic-v1/p2p/${PEER_IDS.kubo}`],
    signingKey: null,
    ...changes,
  };
}

export function makeDocument(changes: Partial<PeersDocument> = {}): PeersDocument {
  return {
    format: 1,
    clusterId: CLUSTER_ID,
    issuer: "master-1",
    issuedAt: "2026-11-20T12:00:00Z",
    expiresAt: "2026-12-20T12:00:00Z",
    masters: [makePeer()],
    replication: { min: 2, max: 6 },
    probe: "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
    ...changes,
  };
}

/** A bundle whose secrets can be told apart. */
export function makeBundle(changes: Partial<JoinBundle> = {}): JoinBundle {
  const secret = (digit: string): Secret => new Secret(digit.repeat(64));
  return {
    clusterId: CLUSTER_ID,
    issuer: "master-1",
    secrets: {
      systemKey: secret("1"),
      jwtSecret: secret("2"),
      sessionSecret: secret("3"),
      encryptionKey: secret("4"),
      clusterSecret: secret("5"),
      swarmKey: secret("6"),
      otherMasterSecrets: null,
    },
    epochs: { masters: null, cluster: null, swarm: null },
    controlPlane: { mode: "sqlite" },
    masters: [makePeer()],
    replication: { min: 2, max: 6 },
    trustedKeys: [`ed25519:${"ab".repeat(32)}`],
    ...changes,
  };
}

export function makeRegistration(changes: Partial<NodeRegistration> = {}): NodeRegistration {
  const { clusterPeerId, clusterAddresses, kuboPeerId, kuboAddresses } = makePeer();
  return {
    name: "master-1",
    role: "master",
    clusterId: CLUSTER_ID,
    clusterPeerId,
    clusterAddresses,
    kuboPeerId,
    kuboAddresses,
    signingKey: `ed25519:${"ab".repeat(32)}`,
    secretsDigest: "d".repeat(64),
    version: "0.1.0",
    ...changes,
  };
}
