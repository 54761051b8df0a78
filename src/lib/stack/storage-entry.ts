import { join, resolve } from "node:path";
import { FulaError, messageOf } from "../kernel/errors.ts";
import { readTextIfExists } from "../kernel/files.ts";
import type { Secret } from "../kernel/secret.ts";
import { parseJoinToken } from "../membership/join-token.ts";
import {
  assertFollows,
  parseSignedPeers,
  type PeersDocument,
  type SignedPeers,
  successorKeys,
  verifyPeers,
} from "../membership/peers-document.ts";
import { openStorageToken, peersInToken } from "../membership/storage-grant.ts";
import { assertTokenRole } from "../membership/token-table.ts";
import { checkedKeyId } from "../pinset/trust.ts";
import { fetchHttpsDocument } from "../runtime/https-document.ts";
import { checkFederationSignature } from "./federation-run.ts";
import type { JoinContext } from "./join-box.ts";
import type { StorageOptions } from "./storage-options.ts";

/** What a storage node joins with: who the masters are, as one of them has signed it. */
export interface StorageEntry {
  readonly signed: SignedPeers;
  readonly document: PeersDocument;
  /** Null where it came by a peers document, in which there is no secret. */
  readonly clusterSecret: Secret | null;
  /** Null there too, and where Kubo is in the public network. */
  readonly swarmKey: Secret | null;
  /** Where it came from, for the plan. */
  readonly source: string;
}

/** The document that this node accepted last. */
export function peersFile(stateDir: string): string {
  return join(stateDir, "peers.json");
}

/**
 * The document that this node accepted last; null before the first. It was checked when it was accepted, and its time
 * does not matter any more: what it said is in the settings.
 * @throws FulaError FULA_PEERS_INVALID
 */
export async function readAcceptedPeers(stateDir: string): Promise<SignedPeers | null> {
  const path = peersFile(stateDir);
  const text = await readTextIfExists(path);
  return text === null ? null : parseSignedPeers(text, path);
}

function pinnedKey({ peersKey }: StorageOptions): string | null {
  return peersKey === undefined ? null : checkedKeyId(peersKey);
}

function entryByToken(
  text: Secret,
  options: StorageOptions,
  accepted: SignedPeers | null,
  nowMs: number,
): StorageEntry | null {
  const token = parseJoinToken(text);
  assertTokenRole(token, "storage");
  // A finished node is told the same again, perhaps long after the token's time: nothing is to be accepted.
  if (accepted !== null && peersInToken(token).signature === accepted.signature) return null;
  const { peers, document, clusterSecret, swarmKey } = openStorageToken(token, {
    key: pinnedKey(options),
    check: checkFederationSignature,
    nowMs,
  });
  return { signed: peers, document, clusterSecret, swarmKey, source: `the join token ${token.id}` };
}

async function readDocument(place: string, { cwd, signal }: JoinContext): Promise<string> {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(place)) {
    const path = resolve(cwd, place);
    const text = await readTextIfExists(path).catch((cause: unknown) => {
      throw new FulaError("FULA_USAGE", `Cannot read ${path}: ${messageOf(cause)}.`, { cause });
    });
    if (text !== null) return text;
    throw new FulaError("FULA_USAGE", `There is no peers document ${path}.`, {
      hint: "give a file that fula-master peers export made on a master, or its https:// address.",
    });
  }
  const url = URL.canParse(place) ? new URL(place) : null;
  if (url?.protocol !== "https:") {
    throw new FulaError("FULA_USAGE", `--peers ${place} is neither a file nor an https:// address.`);
  }
  const answer = await fetchHttpsDocument(url, signal);
  if (answer.failed === undefined) return answer.text;
  throw new FulaError("FULA_PEERS_UNREACHABLE", `${place} gave no peers document: ${answer.failed}.`, {
    hint: "see that the address is right and reached from this box; or copy the file here and give its name.",
  });
}

function trustedKeys(options: StorageOptions, accepted: SignedPeers | null, place: string): readonly string[] {
  const pinned = pinnedKey(options);
  if (pinned !== null) return [pinned];
  if (accepted !== null) return successorKeys(accepted);
  throw new FulaError(
    "FULA_PEERS_UNPINNED",
    `No key was given that must have signed ${place}: whoever can write there could name the masters of this node.`,
    { hint: "add --peers-key ed25519:…, as fula-master key trusted prints it on a master; get it by another way." },
  );
}

async function entryByPeers(
  place: string,
  options: StorageOptions,
  accepted: SignedPeers | null,
  context: JoinContext,
): Promise<StorageEntry | null> {
  const keys = trustedKeys(options, accepted, place);
  const signed = parseSignedPeers(await readDocument(place, context), place);
  if (accepted !== null && signed.signature === accepted.signature) return null;
  const trust = { keys, check: checkFederationSignature, nowMs: context.clock.nowMs() };
  return { signed, document: verifyPeers(signed, trust, place), clusterSecret: null, swarmKey: null, source: place };
}

/**
 * Reads what this run joins with. Writes nothing.
 * @param tokenText the text of a join token, where one was given
 * @param accepted what the node accepted before
 * @returns null where nothing was given, or the same that was accepted before
 * @throws FulaError FULA_USAGE where a new node is given nothing, FULA_TOKEN_*, FULA_PEERS_*, FULA_FEDERATION_FOREIGN
 */
export async function readStorageEntry(
  options: StorageOptions,
  tokenText: Secret | null,
  accepted: SignedPeers | null,
  context: JoinContext,
): Promise<StorageEntry | null> {
  if (tokenText !== null && options.peers !== undefined) {
    throw new FulaError("FULA_USAGE", "A join token tells who the masters are; --peers would tell it again.", {
      hint: "leave one of them out.",
    });
  }
  const entry =
    tokenText !== null
      ? entryByToken(tokenText, options, accepted, context.clock.nowMs())
      : options.peers !== undefined
        ? await entryByPeers(options.peers, options, accepted, context)
        : null;
  if (entry === null && accepted === null) {
    throw new FulaError(
      "FULA_USAGE",
      "A storage node needs a join token, or a peers document with the key that signed it.",
      {
        hint: "on a master: fula-master token create --role storage; then here: fula-master join-as-storage-node --token -",
      },
    );
  }
  if (entry !== null && accepted !== null) assertFollows(entry.document, accepted.document, entry.source);
  return entry;
}
