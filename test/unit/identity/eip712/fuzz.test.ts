import { expect, test } from "vitest";
import { verifyEip712 } from "../../../../src/lib/identity/eip712/verify.ts";
import { PROPERTY_TIMEOUT_MS } from "../../../support/property.ts";
import { seededRandom } from "../../../support/seeded-random.ts";
import { CLUSTER_ID, partsOf, RULES, TestWallet, tokenOf, twinOf } from "../../../support/wallet-tokens.ts";

const SOAK = process.env["SOAK"] === "1";
const MUTATIONS = SOAK ? 1_000_000 : 20_000;
const SEED = SOAK ? Math.trunc(performance.timeOrigin) : 20_261_121;
const random = seededRandom(SEED);
const NOW = Date.UTC(2026, 10, 20, 3);

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ODD = ["", " ", "\n", "=", ".", "+", "/", "\0", "é", "\u{1F511}", "fula-eip712.", "null", "-1", "1e9", "0x"];

function pick<T>(choices: readonly T[]): T {
  const [first] = choices;
  const chosen = choices[random.int(choices.length)] ?? first;
  if (chosen === undefined) throw new Error("nothing to pick from");
  return chosen;
}

const wallets = [1, 2, 3].map((number) => new TestWallet(number));
const tokens = wallets.flatMap((wallet) => [
  wallet.first(NOW),
  wallet.second(NOW),
  wallet.second(NOW, { audience: `master:${CLUSTER_ID}/master-1`, scope: "storage:read" }),
]);

/** Changes a text somewhere: a character, a piece taken out, put in, doubled or moved. */
function damage(text: string, characters: string): string {
  const at = random.int(text.length + 1);
  const to = Math.min(text.length, at + 1 + random.int(4));
  const [before, piece, after] = [text.slice(0, at), text.slice(at, to), text.slice(to)];
  switch (random.int(6)) {
    case 0:
      return before + pick(characters.split("")) + text.slice(at + 1);
    case 1:
      return before + after;
    case 2:
      return before + pick(ODD) + piece + after;
    case 3:
      return before + piece + piece + after;
    case 4:
      return after + piece + before;
    default:
      return before + pick(characters.split("")) + piece + after;
  }
}

/** Changes what is signed or the signature, below the encoding, so that the spelling stays a good one. */
function damageWithin(token: string): string {
  const prefix = token.startsWith("fula-eip712v2.") ? "fula-eip712v2" : "fula-eip712";
  const { payload, signature } = partsOf(token);
  const at = random.int(65);
  switch (random.int(7)) {
    case 0:
      return tokenOf(prefix, payload.replace(/\d(?=[,}])/, String(random.int(10))), signature);
    case 1:
      return tokenOf(prefix, damage(payload, '0123456789abcdef{}":,x'), signature);
    case 2:
      return tokenOf(prefix, payload.replace(/0x[0-9a-f]{40}/, pick(wallets).address), signature);
    case 3:
      signature[at] = (signature[at] ?? 0) ^ (1 << random.int(8));
      return tokenOf(prefix, payload, signature);
    case 4:
      return tokenOf(prefix, payload, twinOf(signature));
    case 5:
      return tokenOf(prefix, payload, partsOf(pick(tokens)).signature);
    default:
      return tokenOf(prefix, payload, random.bytes(pick([0, 1, 64, 65, 66, 130])));
  }
}

/** Most mutations cost nothing to refuse; one in twelve is sure to have a good spelling and comes to the curve. */
function mutated(): string {
  if (random.int(12) === 0) return damageWithin(pick(tokens));
  let text = random.int(4) === 0 ? damageWithin(pick(tokens)) : pick(tokens);
  for (let rounds = 1 + random.int(3); rounds > 0; rounds -= 1) text = damage(text, ALPHABET);
  return text;
}

function identityIn(text: string): unknown {
  const verdict = verifyEip712(text, RULES, NOW);
  return verdict.state === "accepted" ? verdict.identity : verdict.state;
}

const SIGNED = tokens.map(identityIn);

test(
  `of ${MUTATIONS.toLocaleString("en")} mutations none says what nobody signed, and none does worse than to be refused (seed ${SEED})`,
  () => {
    const states = new Map<string, number>();
    for (let count = 0; count < MUTATIONS; count += 1) {
      const text = mutated();
      const verdict = verifyEip712(text, RULES, NOW);
      states.set(verdict.state, (states.get(verdict.state) ?? 0) + 1);
      // Some change nothing, or an `a` of the wallet to `A`: that is still what was signed, with the digest it had.
      if (verdict.state === "accepted") expect(SIGNED, text).toContainEqual(verdict.identity);
    }
    // Else mutations would be too coarse to reach the signature, or too fine to change anything.
    for (const state of ["absent", "refused", "contract"]) {
      expect(states.get(state) ?? 0, state).toBeGreaterThan(MUTATIONS / 200);
    }
    expect(states.get("accepted") ?? 0).toBeLessThan(MUTATIONS / 20);
  },
  PROPERTY_TIMEOUT_MS * 2,
);
