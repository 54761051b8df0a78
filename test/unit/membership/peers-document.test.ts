import { describe, expect, test } from "vitest";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { parseJoinToken, renderJoinToken } from "../../../src/lib/membership/join-token.ts";
import {
  assertFollows,
  parseSignedPeers,
  type PeersTrust,
  signPeers,
  successorKeys,
  verifyPeers,
} from "../../../src/lib/membership/peers-document.ts";
import { makeStorageToken, openStorageToken } from "../../../src/lib/membership/storage-grant.ts";
import { checkSignature, makeDocument, makePeer, makeSigner, PEER_IDS } from "../../support/federation.ts";

const NOW_MS = Date.parse("2026-11-21T12:00:00Z");
const signer = makeSigner();

function trust(changes: Partial<PeersTrust> = {}): PeersTrust {
  return { keys: [signer.keyId], check: checkSignature, nowMs: NOW_MS, ...changes };
}

function refusalOf(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error("It was taken");
}

describe("a peers document", () => {
  test("signed by the pinned key says who the masters are", () => {
    const text = JSON.stringify(signPeers(makeDocument(), signer));
    expect(verifyPeers(parseSignedPeers(text, "peers.json"), trust(), "peers.json")).toEqual(makeDocument());
  });

  test("means the same in any spelling of its JSON", () => {
    const signed = signPeers(makeDocument(), signer);
    const { document, ...rest } = signed;
    const turned = Object.fromEntries(Object.entries(document).toReversed());
    const text = JSON.stringify({ ...rest, document: turned }, null, 4);
    expect(verifyPeers(parseSignedPeers(text, "peers.json"), trust(), "peers.json")).toEqual(makeDocument());
  });

  test("signed by another key is refused, however good the signature is", () => {
    const signed = signPeers(makeDocument(), makeSigner());
    expect(refusalOf(() => verifyPeers(signed, trust(), "peers.json"))).toMatchObject({ code: "FULA_PEERS_SIGNATURE" });
  });

  test("changed after it was signed is refused, also where it still names the right key", () => {
    const signed = signPeers(makeDocument(), signer);
    const changed = { ...signed, document: makeDocument({ masters: [makePeer({ name: "intruder" })] }) };
    expect(refusalOf(() => verifyPeers(changed, trust(), "peers.json"))).toMatchObject({
      code: "FULA_PEERS_SIGNATURE",
      message: expect.stringContaining("was changed after"),
    });
  });

  test("is not taken for anything else that the same key signs, nor the other way round", () => {
    const document = makeDocument();
    const bare = { ...signPeers(document, signer), signature: "" };
    const signature = Buffer.from(signer.sign(Buffer.from(JSON.stringify(document)))).toString("base64");
    expect(refusalOf(() => verifyPeers({ ...bare, signature }, trust(), "x"))).toMatchObject({
      code: "FULA_PEERS_SIGNATURE",
    });
  });

  test.each([
    ["past its time", { expiresAt: "2026-11-21T12:00:00Z" }],
    ["dated in the future", { issuedAt: "2026-11-21T12:06:00Z" }],
  ])("%s is refused", (_, changes) => {
    const signed = signPeers(makeDocument(changes), signer);
    expect(refusalOf(() => verifyPeers(signed, trust(), "peers.json"))).toMatchObject({ code: "FULA_PEERS_EXPIRED" });
  });

  test("of a master whose clock is a little ahead is taken", () => {
    const signed = signPeers(makeDocument({ issuedAt: "2026-11-21T12:04:00Z" }), signer);
    expect(verifyPeers(signed, trust(), "peers.json").issuer).toBe("master-1");
  });

  test.each([
    ["peer ids for trusted peers", { "ipfs-cluster-trustedpeers": [PEER_IDS.cluster] }],
    ["one peer id", { "ipfs-cluster-peerid": PEER_IDS.cluster, ipfs_cluster: { addresses: [] } }],
  ])("is not the older fleet's pool list with %s, which nobody has signed", (_, pool) => {
    expect(refusalOf(() => parseSignedPeers(JSON.stringify(pool), "https://pools.example/1"))).toMatchObject({
      code: "FULA_PEERS_UNSIGNED",
      hint: expect.stringContaining("peers export"),
    });
  });

  test.each([
    ["no JSON", "no"],
    ["a list", "[]"],
    ["without a signature", JSON.stringify({ document: makeDocument() })],
  ])("is not %s", (_, text) => {
    expect(refusalOf(() => parseSignedPeers(text, "peers.json"))).toMatchObject({ code: "FULA_PEERS_INVALID" });
  });

  test.each([
    ["a quote", `/ip4/198.51.100.7"/tcp/9096/p2p/${PEER_IDS.cluster}`],
    ["a comma", `/ip4/198.51.100.7/tcp/9096,/p2p/${PEER_IDS.cluster}`],
    ["a variable", `/dns/\${SYSTEM_KEY}/tcp/9096/p2p/${PEER_IDS.cluster}`],
    ["a line break", `/dns/a\n/tcp/9096/p2p/${PEER_IDS.cluster}`],
    ["another peer's id", `/ip4/198.51.100.7/tcp/9096/p2p/${PEER_IDS.other}`],
  ])("has no address with %s in it, even where the signature is right", (_, address) => {
    const text = JSON.stringify(
      signPeers(makeDocument({ masters: [makePeer({ clusterAddresses: [address] })] }), signer),
    );
    expect(refusalOf(() => parseSignedPeers(text, "peers.json"))).toMatchObject({ code: "FULA_PEERS_INVALID" });
  });

  test("may be followed by a newer one of the same federation, signed by any master that it names", () => {
    const second = makeSigner();
    const signed = signPeers(makeDocument({ masters: [makePeer({ signingKey: second.keyId })] }), signer);
    expect(successorKeys(signed)).toEqual([signer.keyId, second.keyId]);
    const newer = makeDocument({ issuedAt: "2026-11-20T13:00:00Z" });
    expect(() => assertFollows(newer, signed.document, "peers.json")).not.toThrow();
    expect(() => assertFollows(signed.document, signed.document, "peers.json")).not.toThrow();
    expect(refusalOf(() => assertFollows(signed.document, newer, "peers.json"))).toMatchObject({
      code: "FULA_PEERS_OLDER",
    });
    const foreign = makeDocument({ clusterId: "ffffffff-9d54-4b52-8ff5-0a4f5c1d2e3f" });
    expect(refusalOf(() => assertFollows(foreign, signed.document, "peers.json"))).toMatchObject({
      code: "FULA_FEDERATION_FOREIGN",
    });
  });
});

describe("a storage node's join token", () => {
  const HEAD = { id: "7d4b3f0e-4c5a-4f6e-9d2b-1a2b3c4d5e6f", expiresAtMs: NOW_MS + 60_000 };
  const grant = { clusterSecret: new Secret("5".repeat(64)), swarmKey: null, peers: signPeers(makeDocument(), signer) };
  const made = parseJoinToken(renderJoinToken(makeStorageToken(HEAD, grant, signer)));
  const open = (token: typeof made, key: string | null = null, nowMs = NOW_MS): ReturnType<typeof openStorageToken> =>
    openStorageToken(token, { key, check: checkSignature, nowMs });

  test("carries the cluster's secret and the masters, and nothing of theirs beside", () => {
    const opened = open(made, signer.keyId);
    expect(opened.clusterSecret.reveal()).toBe("5".repeat(64));
    expect(opened.document).toEqual(makeDocument());
    expect(Object.keys(JSON.parse(made.body.reveal())).toSorted()).toEqual(["clusterSecret", "peers", "signature"]);
  });

  test("is refused after its time by the joiner's clock", () => {
    expect(refusalOf(() => open(made, null, HEAD.expiresAtMs))).toMatchObject({ code: "FULA_TOKEN_EXPIRED" });
  });

  test("is refused where it was made to live longer, or carries another secret", () => {
    const longer = { ...made, expiresAtMs: HEAD.expiresAtMs + 86_400_000 };
    const body = new Secret(made.body.reveal().replace("5555", "6666"));
    for (const token of [longer, { ...made, body }]) {
      expect(refusalOf(() => open(token))).toMatchObject({ code: "FULA_PEERS_SIGNATURE" });
    }
  });

  test("of another master is refused where a key is pinned", () => {
    expect(refusalOf(() => open(made, makeSigner().keyId))).toMatchObject({ code: "FULA_PEERS_SIGNATURE" });
  });
});
