import { type StructTypes, signingDigest, structHasher } from "./typed-data.ts";

/** What a wallet says in the fleet's token: who it is, and for how long. */
interface FirstClaims {
  readonly version: 1;
  /** `0x` and 40 hex digits, lower case. */
  readonly wallet: string;
  /** Seconds since 1970. */
  readonly issued: number;
  /** Seconds since 1970. */
  readonly expires: number;
}

/** What a wallet says in a token of the second version: also to whom, on which chain, and what may be done with it. */
interface SecondClaims extends Omit<FirstClaims, "version"> {
  readonly version: 2;
  /** `federation:<cluster id>` or `master:<cluster id>/<node name>`. */
  readonly audience: string;
  /** EIP-155. */
  readonly chainId: number;
  /** Scope words, with one space between two. */
  readonly scope: string;
  /** `0x` and 64 hex digits. */
  readonly nonce: string;
}

/** What a wallet signs. */
export type WalletClaims = FirstClaims | SecondClaims;

/** The versions of wallet tokens. */
export type TokenVersion = WalletClaims["version"];

const DOMAIN_NAME = "Fula Gateway";

const FIRST: StructTypes = {
  EIP712Domain: [
    { name: "name", type: "string" },
    { name: "version", type: "string" },
  ],
  FulaAuth: [
    { name: "wallet", type: "address" },
    { name: "iat", type: "uint256" },
    { name: "exp", type: "uint256" },
  ],
};

const SECOND: StructTypes = {
  EIP712Domain: [
    { name: "name", type: "string" },
    { name: "version", type: "string" },
    { name: "chainId", type: "uint256" },
  ],
  FulaAuth: [
    { name: "wallet", type: "address" },
    { name: "audience", type: "string" },
    { name: "scope", type: "string" },
    { name: "iat", type: "uint256" },
    { name: "exp", type: "uint256" },
    { name: "nonce", type: "bytes32" },
  ],
};

const FIRST_DOMAIN = structHasher(FIRST, "EIP712Domain")({ name: DOMAIN_NAME, version: "1" });
const hashFirst = structHasher(FIRST, "FulaAuth");
const hashSecondDomain = structHasher(SECOND, "EIP712Domain");
const hashSecond = structHasher(SECOND, "FulaAuth");

/** The 32 bytes that a wallet signs: the same for every spelling of a token. */
export function digestOf(claims: WalletClaims): Uint8Array {
  const { wallet } = claims;
  const times = { iat: BigInt(claims.issued), exp: BigInt(claims.expires) };
  if (claims.version === 1) return signingDigest(FIRST_DOMAIN, hashFirst({ wallet, ...times }));
  const { audience, scope, nonce } = claims;
  const domain = hashSecondDomain({ name: DOMAIN_NAME, version: "2", chainId: BigInt(claims.chainId) });
  return signingDigest(domain, hashSecond({ wallet, audience, scope, nonce, ...times }));
}

/** Whom a token of the second version may be meant for, as a master of this federation reads it. */
export function audiencesOf(clusterId: string, nodeName: string): readonly string[] {
  return [`federation:${clusterId}`, `master:${clusterId}/${nodeName}`];
}
