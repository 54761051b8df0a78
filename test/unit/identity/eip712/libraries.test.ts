import { TypedDataEncoder, Wallet, verifyTypedData as ethersVerify } from "ethers";
import { bytesToHex } from "@noble/hashes/utils.js";
import { expect, test } from "vitest";
import { privateKeyToAccount } from "viem/accounts";
import { hashTypedData, recoverTypedDataAddress } from "viem/utils";
import { digestOf, type WalletClaims } from "../../../../src/lib/identity/eip712/claims.ts";
import { addressOfKey } from "../../../../src/lib/identity/eip712/signature.ts";
import { renderToken, signToken } from "../../../../src/lib/identity/eip712/token.ts";
import { verifyEip712 } from "../../../../src/lib/identity/eip712/verify.ts";
import { PROPERTY_TIMEOUT_MS } from "../../../support/property.ts";
import { seededRandom } from "../../../support/seeded-random.ts";
import { CLUSTER_ID, partsOf, RULES } from "../../../support/wallet-tokens.ts";

const SOAK = process.env["SOAK"] === "1";
const TOKENS = SOAK ? 10_000 : 300;
const random = seededRandom(SOAK ? Math.trunc(performance.timeOrigin) : 712);

const FIRST_TYPES = {
  FulaAuth: [
    { name: "wallet", type: "address" },
    { name: "iat", type: "uint256" },
    { name: "exp", type: "uint256" },
  ],
};
const SECOND_TYPES = {
  FulaAuth: [
    { name: "wallet", type: "address" },
    { name: "audience", type: "string" },
    { name: "scope", type: "string" },
    { name: "iat", type: "uint256" },
    { name: "exp", type: "uint256" },
    { name: "nonce", type: "bytes32" },
  ],
};

type Hex = `0x${string}`;

function hex(bytes: Uint8Array): Hex {
  return `0x${bytesToHex(bytes)}`;
}

function pick<T>(choices: readonly [T, ...T[]]): T {
  return choices[random.int(choices.length)] ?? choices[0];
}

function anyClaims(wallet: string): WalletClaims {
  const issued = 1_600_000_000 + random.int(2_000_000_000);
  const shared = { wallet, issued, expires: issued + 1 + random.int(86_400) };
  if (random.int(2) === 0) return { version: 1, ...shared };
  return {
    version: 2,
    ...shared,
    audience: pick([`federation:${CLUSTER_ID}`, `master:${CLUSTER_ID}/master-1`]),
    chainId: pick([1, 8_453]),
    scope: pick(["storage:*", "storage:read", "storage:read storage:write", "*", "admin"]),
    nonce: hex(random.bytes(32)),
  };
}

/** The claims as wallets are shown them. */
function typedData(claims: WalletClaims) {
  const { wallet, issued, expires } = claims;
  const times = { wallet, iat: BigInt(issued), exp: BigInt(expires) };
  if (claims.version === 1) {
    return { domain: { name: "Fula Gateway", version: "1" }, types: FIRST_TYPES, message: times };
  }
  const { audience, scope, nonce, chainId } = claims;
  return {
    domain: { name: "Fula Gateway", version: "2", chainId },
    types: SECOND_TYPES,
    message: { ...times, audience, scope, nonce },
  };
}

/** The libraries' signatures, as the last byte has it here: 0 or 1. */
function withBit(signature: string): Hex {
  const v = Number(`0x${signature.slice(-2)}`);
  return `0x${signature.slice(2, -2)}0${v - 27}`;
}

test(
  `ethers and viem sign ${TOKENS.toLocaleString("en")} tokens with the same bytes as we, and each is taken here`,
  async () => {
    for (let count = 0; count < TOKENS; count += 1) {
      const key = random.bytes(32);
      const claims = anyClaims(addressOfKey(key));
      const { domain, types, message } = typedData(claims);
      const forViem = { domain, types, message, primaryType: "FulaAuth" as const };
      const digest = hex(digestOf(claims));
      expect(TypedDataEncoder.hash(domain, types, message)).toBe(digest);
      expect(hashTypedData(forViem)).toBe(digest);
      const token = signToken(claims, key);
      const ours = hex(partsOf(token).signature);
      // None of the three draws a number: RFC 6979 makes it from key and digest, so the bytes have to be the same.
      const byEthers = await new Wallet(hex(key)).signTypedData(domain, types, message);
      expect(withBit(byEthers)).toBe(ours);
      expect(withBit(await privateKeyToAccount(hex(key)).signTypedData(forViem))).toBe(ours);
      const theirs = { claims, signature: Uint8Array.from(Buffer.from(byEthers.slice(2), "hex")) };
      expect(verifyEip712(renderToken(theirs), RULES, claims.issued * 1_000).state).toBe("accepted");
    }
  },
  PROPERTY_TIMEOUT_MS * 3,
);

test("ethers and viem find the wallet that signed here", async () => {
  for (let count = 0; count < 5; count += 1) {
    const key = random.bytes(32);
    const claims = anyClaims(addressOfKey(key));
    const { domain, types, message } = typedData(claims);
    const { signature } = partsOf(signToken(claims, key));
    signature[64] = (signature[64] ?? 0) + 27;
    expect(ethersVerify(domain, types, message, hex(signature)).toLowerCase()).toBe(claims.wallet);
    const forViem = { domain, types, message, primaryType: "FulaAuth" as const, signature: hex(signature) };
    expect((await recoverTypedDataAddress(forViem)).toLowerCase()).toBe(claims.wallet);
  }
});
