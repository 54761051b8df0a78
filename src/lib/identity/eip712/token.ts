import type { TokenVersion, WalletClaims } from "./claims.ts";
import { digestOf } from "./claims.ts";
import { type Members, readMembers } from "./members.ts";
import { signDigest } from "./signature.ts";

/** A wallet token as it was read; nothing of it has been checked yet. */
export interface WalletToken {
  readonly claims: WalletClaims;
  readonly signature: Uint8Array;
}

/** What a text is: `absent` = no wallet token at all; `malformed` says why it is none of any wallet. */
export type ParsedToken =
  | { readonly state: "absent" }
  | { readonly state: "malformed"; readonly because: string }
  | { readonly state: "parsed"; readonly token: WalletToken };

const PREFIXES: readonly (readonly [prefix: string, version: TokenVersion])[] = [
  ["fula-eip712.", 1],
  ["fula-eip712v2.", 2],
];
/** The largest payload of the second version has some 700 bytes. */
const PAYLOAD_BYTES_MAX = 1_024;
/** Contract wallets give what their owners' signatures are put together to. */
const SIGNATURE_BYTES_MAX = 4_096;
/** No wallet signed for us before, and no clock of ours goes beyond: years 2020 and 2100. */
const SECONDS_MIN = 1_577_836_800;
const SECONDS_MAX = 4_102_444_800;
const FIRST_NAMES = ["wallet", "iat", "exp"] as const;
const SECOND_NAMES = ["wallet", "audience", "chainId", "scope", "iat", "exp", "nonce"] as const;
const AUDIENCE = /^(?:federation:[!-~]{1,128}|master:[!-~]{1,128}\/[!-~]{1,128})$/;
/** The words of scopes, as session tokens have them. */
const SCOPE_WORDS: ReadonlySet<string> = new Set(["storage:read", "storage:write", "storage:*", "admin", "*"]);

/** Bytes of base64url as they have to be spelled: no padding, and nothing in the spare bits of the last character. */
function decodeCanonically(text: string): Buffer | null {
  const bytes = Buffer.from(text, "base64url");
  return text !== "" && bytes.toString("base64url") === text ? bytes : null;
}

function isScope(text: string): boolean {
  const words = text.split(" ");
  return words.every((word) => SCOPE_WORDS.has(word)) && new Set(words).size === words.length;
}

/** What is wrong with the names of a payload's members, null where nothing is. */
function namesProblem(members: Members, version: TokenVersion): string | null {
  const wanted: readonly string[] = version === 1 ? FIRST_NAMES : SECOND_NAMES;
  const names = members.map(([name]) => name);
  const unknown = names.find((name) => !wanted.includes(name));
  if (unknown !== undefined) return `its payload has ${unknown}, which says nothing`;
  const missing = wanted.find((name) => !names.includes(name));
  if (missing !== undefined) return `its payload lacks ${missing}`;
  // The first version's digest does not depend on the order, and its clients were never told one.
  const isInOrder = version === 1 || names.every((name, place) => name === wanted[place]);
  return isInOrder ? null : `its payload has not the order ${wanted.join(", ")}`;
}

/** Takes members out as what they have to be; the first problem is kept. */
class Reader {
  problem: string | null = null;
  readonly #members: ReadonlyMap<string, string | number>;

  constructor(members: Members) {
    this.#members = new Map(members);
  }

  text(name: string, isGood: (text: string) => boolean, expected: string): string {
    const value = this.#members.get(name);
    if (typeof value === "string" && isGood(value)) return value;
    this.problem ??= `its ${name} is not ${expected}`;
    return "";
  }

  number(name: string, min: number, max: number, expected: string): number {
    const value = this.#members.get(name);
    if (typeof value === "number" && value >= min && value <= max) return value;
    this.problem ??= `its ${name} is not ${expected}`;
    return min;
  }

  seconds(name: string): number {
    return this.number(name, SECONDS_MIN, SECONDS_MAX, "a time between 2020 and 2100 in whole seconds");
  }
}

function readClaims(members: Members, version: TokenVersion): WalletClaims | string {
  const problem = namesProblem(members, version);
  if (problem !== null) return problem;
  const read = new Reader(members);
  const form = version === 1 ? /^(?:0x)?([0-9a-fA-F]{40})$/ : /^0x([0-9a-fA-F]{40})$/;
  const wallet = read.text("wallet", (text) => form.test(text), "an address of 40 hex digits");
  const shared = {
    wallet: `0x${(form.exec(wallet)?.[1] ?? "").toLowerCase()}`,
    issued: read.seconds("iat"),
    expires: read.seconds("exp"),
  };
  if (version === 1) return read.problem ?? { version, ...shared };
  const claims: WalletClaims = {
    version,
    ...shared,
    audience: read.text("audience", (text) => AUDIENCE.test(text), "federation:<id> or master:<id>/<name>"),
    chainId: read.number("chainId", 1, Number.MAX_SAFE_INTEGER, "a chain's number"),
    scope: read.text("scope", isScope, `of the words ${[...SCOPE_WORDS].join(", ")}, each once`),
    nonce: read.text("nonce", (text) => /^0x[0-9a-f]{64}$/.test(text), "0x and 64 hex digits in lower case"),
  };
  return read.problem ?? claims;
}

function malformed(because: string): ParsedToken {
  return { state: "malformed", because };
}

/** Reads `fula-eip712.<payload>.<signature>` and `fula-eip712v2.…`; checks every spelling, and nothing else. */
export function parseEip712Token(text: string): ParsedToken {
  const [prefix, version] = PREFIXES.find(([start]) => text.startsWith(start)) ?? [];
  if (prefix === undefined || version === undefined) return { state: "absent" };
  const parts = text.slice(prefix.length).split(".");
  if (parts.length !== 2) return malformed("it has not two parts behind its prefix");
  const [payload, signature] = parts.map(decodeCanonically);
  if (!payload || !signature) return malformed("its parts are not base64url without padding");
  if (payload.length > PAYLOAD_BYTES_MAX) return malformed(`its payload has more than ${PAYLOAD_BYTES_MAX} bytes`);
  if (signature.length > SIGNATURE_BYTES_MAX)
    return malformed(`its signature has more than ${SIGNATURE_BYTES_MAX} bytes`);
  const members = readMembers(payload.toString("latin1"));
  const claims = typeof members === "string" ? members : readClaims(members, version);
  return typeof claims === "string" ? malformed(claims) : { state: "parsed", token: { claims, signature } };
}

/** The payload of a token, as wallets of the fleet spell it. */
function renderPayload(claims: WalletClaims): string {
  const { wallet, issued: iat, expires: exp } = claims;
  if (claims.version === 1) return JSON.stringify({ wallet, iat, exp });
  const { audience, chainId, scope, nonce } = claims;
  return JSON.stringify({ wallet, audience, chainId, scope, iat, exp, nonce });
}

/** Renders a token. */
export function renderToken({ claims, signature }: WalletToken): string {
  const [prefix] = PREFIXES.find(([, version]) => version === claims.version) ?? [""];
  const payload = Buffer.from(renderPayload(claims), "utf8").toString("base64url");
  return `${prefix}${payload}.${Buffer.from(signature).toString("base64url")}`;
}

/** Signs claims with a wallet's secret key, 32 bytes. The wallet of the claims has to be that key's. */
export function signToken(claims: WalletClaims, secretKey: Uint8Array): string {
  return renderToken({ claims, signature: signDigest(digestOf(claims), secretKey) });
}
