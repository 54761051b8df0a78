import { secp256k1 } from "@noble/curves/secp256k1.js";
import { eip712Verifier } from "../../src/lib/identity/bearer-eip712.ts";
import { digestOf } from "../../src/lib/identity/eip712/claims.ts";
import { verifyEip712 } from "../../src/lib/identity/eip712/verify.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { partsOf, RULES, TestWallet } from "../support/wallet-tokens.ts";
import { type Measured, measureInTurns, printAgainstFirst } from "./measure.ts";

const TOKENS = 300;
const ROUNDS = 7;

/** By the best round: whatever else runs on the machine only slows. */
function perSecond({ name, minMs }: Measured): string {
  return `${name}: ${Math.round((TOKENS * 1_000) / minMs).toLocaleString("en")} a second`;
}

/** What a wallet's token costs on one core: beside the curve alone, and when it comes again. */
export async function bench(): Promise<void> {
  const nowMs = systemClock.nowMs();
  const wallet = new TestWallet(0x42);
  const nonces = Array.from({ length: TOKENS }, (_none, place) => `0x${place.toString(16).padStart(64, "0")}`);
  const first = nonces.map((_none, place) => wallet.first(nowMs, { expires: Math.floor(nowMs / 1_000) + 60 + place }));
  const second = nonces.map((nonce) => wallet.second(nowMs, { nonce }));
  const signatures = nonces.map((nonce, place) => ({
    digest: digestOf(wallet.secondClaims(nowMs, { nonce })),
    bytes: partsOf(second[place] ?? "").signature,
  }));
  const askContract = async (): Promise<"unconfigured"> => await Promise.resolve("unconfigured");
  const verifier = eip712Verifier({ rules: RULES, clock: systemClock, askContract, pace: () => true });
  const verifyAll = (tokens: readonly string[]): void => {
    for (const token of tokens) {
      if (verifyEip712(token, RULES, nowMs).state !== "accepted") throw new Error("a good token was not accepted");
    }
  };
  const measured = await measureInTurns(
    [
      {
        name: "@noble/curves alone: recovering a public key",
        run: () => {
          for (const { digest, bytes } of signatures) {
            const pair = secp256k1.Signature.fromBytes(bytes.subarray(0, 64), "compact");
            pair.addRecoveryBit(bytes[64] ?? 0).recoverPublicKey(digest);
          }
        },
      },
      {
        name: "tokens of the first version",
        run: () => {
          verifyAll(first);
        },
      },
      {
        name: "tokens of the second version",
        run: () => {
          verifyAll(second);
        },
      },
      {
        name: "tokens of the second version that came before",
        run: async () => {
          for (const bearer of second) await verifier.verify({ bearer, serviceAuth: null });
        },
      },
    ],
    ROUNDS,
  );
  printAgainstFirst(measured);
  console.log(`\n${measured.map(perSecond).join("\n")}`);
}
