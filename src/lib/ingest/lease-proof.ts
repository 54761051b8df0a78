import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { Secret } from "../kernel/secret.ts";
import type { IngestedBlock } from "./lease-table.ts";

/** What a storage node asks of a master on behalf of whoever sent it blocks. */
export interface LeaseQuestion {
  /** Name of the storage node. */
  readonly node: string;
  readonly blocks: readonly IngestedBlock[];
}

/** The header in which a storage node shows that it is one. */
export const NODE_PROOF_HEADER = "x-fula-ingest-node";

/** Clocks of nodes and masters may differ by less than this; and a question is not asked again later. */
const PROOF_MS = 300_000;
const FORM = /^v1\.(\d{1,12})\.([A-Za-z0-9_-]{43})$/;

function signatureOf(clusterSecret: Secret, seconds: number, bearer: string, question: LeaseQuestion): string {
  const key = createHmac("sha256", clusterSecret.reveal()).update("fula-master ingest leases v1").digest();
  const token = createHash("sha256").update(bearer, "utf8").digest("hex");
  const lines = [`v1 ${seconds}`, token, question.node, ...question.blocks.map(({ cid, bytes }) => `${cid} ${bytes}`)];
  return createHmac("sha256", key).update(lines.join("\n"), "utf8").digest("base64url");
}

/**
 * Signs a question with what every node of the federation has, its cluster secret: a user who asks a master by himself
 * gets no lease on a block that he never sent.
 * @param bearer the token of the user that it is about
 * @returns the header's value: `v1.<time, seconds>.<base64url HMAC-SHA256>`
 */
export function proveNode(clusterSecret: Secret, bearer: string, question: LeaseQuestion, nowMs: number): string {
  const seconds = Math.trunc(nowMs / 1_000);
  return `v1.${seconds}.${signatureOf(clusterSecret, seconds, bearer, question)}`;
}

/** True where a node of the federation signed this very question a short while ago. */
export function provesNode(
  header: string,
  clusterSecret: Secret,
  about: { readonly bearer: string; readonly question: LeaseQuestion; readonly nowMs: number },
): boolean {
  const [, time = "", signature = ""] = FORM.exec(header) ?? [];
  if (time === "" || Math.abs(about.nowMs - Number(time) * 1_000) > PROOF_MS) return false;
  const expected = signatureOf(clusterSecret, Number(time), about.bearer, about.question);
  const [a, b] = [Buffer.from(signature), Buffer.from(expected)];
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}
