import type { WalletClaims } from "../../src/lib/identity/eip712/claims.ts";
import { addressOfKey } from "../../src/lib/identity/eip712/signature.ts";
import { signToken } from "../../src/lib/identity/eip712/token.ts";
import type { WalletTokenRules } from "../../src/lib/identity/eip712/verify.ts";

type FirstClaims = Extract<WalletClaims, { version: 1 }>;
type SecondClaims = Extract<WalletClaims, { version: 2 }>;

/** Federation of the tokens that tests make. */
export const CLUSTER_ID = "0b9d8d1e-6f53-4c1a-9d3e-0a8f4f8e2a11";

/** Takes both versions, as a master `master-1` of that federation. */
export const RULES: WalletTokenRules = {
  versions: new Set([1, 2]),
  audiences: new Set([`federation:${CLUSTER_ID}`, `master:${CLUSTER_ID}/master-1`]),
  chainIds: new Set([1, 8_453]),
};

/** A wallet with a key of its own. */
export class TestWallet {
  readonly key: Uint8Array;
  /** Lower case. */
  readonly address: string;

  /** @param number the same number gives the same wallet */
  constructor(number: number) {
    this.key = new Uint8Array(32).fill(number);
    this.address = addressOfKey(this.key);
  }

  /** Claims of the first version, good for an hour from `nowMs` on. */
  firstClaims(nowMs: number, change: Partial<FirstClaims> = {}): FirstClaims {
    const issued = Math.floor(nowMs / 1_000);
    return { version: 1, wallet: this.address, issued, expires: issued + 3_600, ...change };
  }

  /** Claims of the second version for the whole federation, good for an hour from `nowMs` on. */
  secondClaims(nowMs: number, change: Partial<SecondClaims> = {}): SecondClaims {
    const issued = Math.floor(nowMs / 1_000);
    return {
      version: 2,
      wallet: this.address,
      audience: `federation:${CLUSTER_ID}`,
      chainId: 1,
      scope: "storage:*",
      issued,
      expires: issued + 3_600,
      nonce: `0x${"5a".repeat(32)}`,
      ...change,
    };
  }

  /** A token of the existing fleet. */
  first(nowMs: number, change: Partial<FirstClaims> = {}): string {
    return signToken(this.firstClaims(nowMs, change), this.key);
  }

  /** A token of the second version. */
  second(nowMs: number, change: Partial<SecondClaims> = {}): string {
    return signToken(this.secondClaims(nowMs, change), this.key);
  }
}

/** A token with the payload and signature bytes given, whatever they are. */
export function tokenOf(prefix: "fula-eip712" | "fula-eip712v2", payload: string, signature: Uint8Array): string {
  const part = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");
  return `${prefix}.${part(Buffer.from(payload, "utf8"))}.${part(signature)}`;
}

/** The parts of a token that is well formed. */
export function partsOf(token: string): { readonly payload: string; readonly signature: Uint8Array } {
  const [, payload = "", signature = ""] = token.split(".");
  return {
    payload: Buffer.from(payload, "base64url").toString("utf8"),
    signature: new Uint8Array(Buffer.from(signature, "base64url")),
  };
}

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** The other one of the two signatures that every signature is: n − s and the other recovery byte. */
export function twinOf(signature: Uint8Array): Uint8Array {
  const s = BigInt(`0x${Buffer.from(signature.subarray(32, 64)).toString("hex")}`);
  const twin = Uint8Array.from(signature);
  twin.set(Buffer.from((ORDER - s).toString(16).padStart(64, "0"), "hex"), 32);
  twin[64] = (twin[64] ?? 0) ^ (signature[64] === 27 || signature[64] === 28 ? 7 : 1);
  return twin;
}
