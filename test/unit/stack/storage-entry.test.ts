import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import type { DocumentSigner } from "../../../src/lib/membership/federation.ts";
import { type JoinToken, renderJoinToken } from "../../../src/lib/membership/join-token.ts";
import { type PeersDocument, type SignedPeers, signPeers } from "../../../src/lib/membership/peers-document.ts";
import { makeStorageToken } from "../../../src/lib/membership/storage-grant.ts";
import type { JoinContext } from "../../../src/lib/stack/join-box.ts";
import { readStorageEntry } from "../../../src/lib/stack/storage-entry.ts";
import type { StorageOptions } from "../../../src/lib/stack/storage-options.ts";
import { readTokenText } from "../../../src/lib/stack/token-source.ts";
import { FakeClock } from "../../support/clock.ts";
import { makeDocument, makePeer, makeSigner } from "../../support/federation.ts";
import { tempDir } from "../../support/temp-dir.ts";

const NOW_MS = Date.parse("2026-11-21T12:00:00Z");
const HEAD = { id: "7d4b3f0e-4c5a-4f6e-9d2b-1a2b3c4d5e6f", expiresAtMs: NOW_MS + 3_600_000 };
const signer = makeSigner();

function contextIn(cwd: string): JoinContext {
  return {
    globals: {},
    env: {},
    cwd,
    clock: new FakeClock(NOW_MS),
    random: systemRandom,
    log: silentLog,
    signal: new AbortController().signal,
    readInput: async () => "",
  };
}

function signed(changes: Partial<PeersDocument> = {}, by: DocumentSigner = signer): SignedPeers {
  return signPeers(makeDocument(changes), by);
}

function tokenText(peers: SignedPeers = signed(), head: Pick<JoinToken, "id" | "expiresAtMs"> = HEAD): Secret {
  return renderJoinToken(
    makeStorageToken(head, { clusterSecret: new Secret("5".repeat(64)), swarmKey: null, peers }, signer),
  );
}

async function enter(
  options: Partial<StorageOptions>,
  token: Secret | null = null,
  accepted: SignedPeers | null = null,
  cwd = tempDir(),
): ReturnType<typeof readStorageEntry> {
  return await readStorageEntry({ wait: "3m", ...options }, token, accepted, contextIn(cwd));
}

/** The document as a file `peers.json` in a directory of its own. */
function fileWith(content: unknown): string {
  const cwd = tempDir();
  writeFileSync(join(cwd, "peers.json"), JSON.stringify(content));
  return cwd;
}

describe("a storage node joins with", () => {
  test("a token, which brings the masters and the cluster's secret", async () => {
    const entry = await enter({}, tokenText());
    expect(entry).toMatchObject({ document: makeDocument(), signed: { key: signer.keyId } });
    expect(entry?.clusterSecret?.reveal()).toBe("5".repeat(64));
  });

  test("a signed document and the key that was read out on another way", async () => {
    const cwd = fileWith(signed());
    const entry = await enter({ peers: "peers.json", peersKey: signer.keyId }, null, null, cwd);
    expect(entry).toMatchObject({ document: makeDocument(), clusterSecret: null, source: "peers.json" });
  });

  test.each([
    ["nothing at all", {}, "FULA_USAGE"],
    ["a document without a key", { peers: "peers.json" }, "FULA_PEERS_UNPINNED"],
    [
      "a document and the key of somebody else",
      { peers: "peers.json", peersKey: makeSigner().keyId },
      "FULA_PEERS_SIGNATURE",
    ],
    ["a key that is none", { peers: "peers.json", peersKey: "ed25519:00" }, "FULA_KEY_UNUSABLE"],
    ["a file that is not there", { peers: "other.json", peersKey: signer.keyId }, "FULA_USAGE"],
    ["a URL without encryption", { peers: "http://example.org/p.json", peersKey: signer.keyId }, "FULA_USAGE"],
    ["a URL without a key, which is not even fetched", { peers: "https://127.0.0.1:1/p.json" }, "FULA_PEERS_UNPINNED"],
  ])("never %s", async (_, options, code) => {
    await expect(enter(options, null, null, fileWith(signed()))).rejects.toMatchObject({ code });
  });

  test("never the older fleet's pool list, whatever key is pinned", async () => {
    const cwd = fileWith({ "ipfs-cluster-trustedpeers": [makePeer().clusterPeerId] });
    await expect(enter({ peers: "peers.json", peersKey: signer.keyId }, null, null, cwd)).rejects.toMatchObject({
      code: "FULA_PEERS_UNSIGNED",
    });
  });

  test("never both a token and a document, an expired token, or a master's", async () => {
    await expect(enter({ peers: "peers.json" }, tokenText())).rejects.toMatchObject({ code: "FULA_USAGE" });
    const late = tokenText(signed(), { ...HEAD, expiresAtMs: NOW_MS });
    await expect(enter({}, late)).rejects.toMatchObject({ code: "FULA_TOKEN_EXPIRED" });
    const masters = renderJoinToken({ ...HEAD, role: "master", body: new Secret("0".repeat(64)) });
    await expect(enter({}, masters)).rejects.toMatchObject({ code: "FULA_TOKEN_ROLE" });
  });
});

describe("a storage node that has joined", () => {
  test("takes the same token again for what it is, also after its time", async () => {
    const late = tokenText(signed(), { ...HEAD, expiresAtMs: NOW_MS - 1 });
    expect(await enter({}, late, signed())).toBeNull();
    expect(await enter({}, null, signed())).toBeNull();
  });

  test("takes a newer document of any master that the last one named, without a key", async () => {
    const second = makeSigner();
    const accepted = signed({ masters: [makePeer({ signingKey: second.keyId })] });
    const next = signed({ issuedAt: "2026-11-21T11:00:00Z", issuer: "master-2" }, second);
    const entry = await enter({ peers: "peers.json" }, null, accepted, fileWith(next));
    expect(entry?.document.issuer).toBe("master-2");
    await expect(
      enter({ peers: "peers.json" }, null, accepted, fileWith(signed({}, makeSigner()))),
    ).rejects.toMatchObject({ code: "FULA_PEERS_SIGNATURE" });
  });

  test("goes back to no older document, by which a master that was put out could come in again", async () => {
    const accepted = signed({ issuedAt: "2026-11-21T11:00:00Z" });
    await expect(enter({}, tokenText(), accepted)).rejects.toMatchObject({ code: "FULA_PEERS_OLDER" });
  });

  test("does not change over to another federation", async () => {
    const accepted = signed({ clusterId: "ffffffff-9d54-4b52-8ff5-0a4f5c1d2e3f" });
    await expect(enter({}, tokenText(), accepted)).rejects.toMatchObject({ code: "FULA_FEDERATION_FOREIGN" });
  });
});

describe("the text of a token", () => {
  const sources = { env: { FULA_JOIN_TOKEN: "from-env" }, readInput: async () => "from-stdin" };

  test("comes from the option, a file, standard input or the environment, in this order", async () => {
    const cwd = tempDir();
    writeFileSync(join(cwd, "token"), "from-file\n");
    const read = async (options: Parameters<typeof readTokenText>[0]): Promise<string | undefined> =>
      (await readTokenText(options, { ...sources, cwd }))?.reveal().trim();
    expect(await read({ token: "given" })).toBe("given");
    expect(await read({ tokenFile: "token" })).toBe("from-file");
    expect(await read({ tokenFile: "-" })).toBe("from-stdin");
    expect(await read({ token: "-" })).toBe("from-stdin");
    expect(await read({})).toBe("from-env");
  });

  test("is nothing where nobody gave one, and is never guessed between two", async () => {
    const cwd = tempDir();
    expect(await readTokenText({}, { ...sources, env: {}, cwd })).toBeNull();
    await expect(readTokenText({ token: "a", tokenFile: "b" }, { ...sources, cwd })).rejects.toMatchObject({
      code: "FULA_USAGE",
    });
    await expect(readTokenText({ tokenFile: "absent" }, { ...sources, cwd })).rejects.toMatchObject({
      code: "FULA_USAGE",
    });
  });
});
